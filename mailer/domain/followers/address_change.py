"""A change of address: a follower asks, the new mailbox agrees, the one before gets the way back.

What moves is the subscriptions to some press rooms, with all that came before there, so that every
link goes on working.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from mailer.config import Settings
from mailer.domain.followers.erasure import clear_erasure, lock_subscribers
from mailer.domain.followers.links import subscription_of
from mailer.domain.followers.signup import Answer, count_letter, give_place_back
from mailer.domain.followers.subscriptions import (
    Evidence,
    SubscriptionView,
    get_subscription,
    record_consent,
    view_of,
)
from mailer.domain.outbox import new_message_id
from mailer.domain.tokens import Tokens
from mailer.errors import InvalidLink
from mailer.mail.addresses import canonical
from mailer.mail.content import MOVE_WITHIN
from mailer.storage.database import read_transaction, transaction
from mailer.storage.models import (
    AddressChange,
    OutboxMessage,
    Publisher,
    Subscriber,
    Subscription,
)
from mailer.storage.queues import wake
from mailer.storage.sql import insert
from mailer.storage.types import now

_ONE_AT_A_TIME = 0x6D6F7665
"""An advisory lock of PostgreSQL; SQLite has one writer anyway."""


@dataclass(frozen=True, slots=True)
class ChangeView:
    """A change of address as the new mailbox sees it."""

    view: SubscriptionView
    """The subscription on whose page it was asked for; once done, its address is the new one."""
    names: Sequence[str]
    """The press rooms whose releases are to come, or have come, to the new address."""
    done: bool


def ask_to_move(
    settings: Settings,
    subscription_id: int,
    address: str,
    *,
    everywhere: bool,
    wait_seconds: float = 0,
) -> Answer | Literal["same"]:
    """Mail another address a link, by which the releases of one or all press rooms come there.

    The answer does not depend on whether that address is known; "same" is the follower's own. The
    letter leaves after `wait_seconds`. Raises InvalidAddress, InvalidLink.
    """
    address = canonical(address, smtputf8=settings.smtputf8)
    with transaction() as session:
        subscription = get_subscription(session, subscription_id)
        followed = _followed(session, subscription, everywhere=everywhere)
        person = subscription.subscriber_id and session.get(Subscriber, subscription.subscriber_id)
        if not person or not followed:
            return "asked"
        if person.address == address:
            return "same"
        publisher = session.get_one(Publisher, subscription.publisher_id)
        answer = count_letter(session, settings, publisher, address)
        if answer == "asked":
            change = _add_change(session, subscription, followed, address)
            _queue(session, "move", change, publisher, wait_seconds)
    wake(settings.redis_url, "letters")
    return answer


def look_up(settings: Settings, token: str) -> ChangeView:
    """Return what the link in a letter would change; raises InvalidLink."""
    with read_transaction() as session:
        return _view_of(session, _read(session, settings, token))


def move(settings: Settings, token: str, evidence: Evidence) -> ChangeView:
    """Change the address, unless that is done already; raises InvalidLink."""
    with transaction() as session:
        if session.get_bind().dialect.name == "postgresql":
            session.execute(select(func.pg_advisory_xact_lock(_ONE_AT_A_TIME)))
        change = _read(session, settings, token)
        subscription = get_subscription(session, change.subscription_id)
        if change.done_at is None and subscription.subscriber_id is not None:
            change = _locked(session, change, subscription)
            _move(session, settings, change, evidence)
        view = _view_of(session, change)
    wake(settings.redis_url, "letters")
    return view


def _followed(session: Session, subscription: Subscription, *, everywhere: bool) -> list[int]:
    """Return the press rooms that the subscriber follows: all, or that of the subscription."""
    query = select(Subscription.publisher_id).where(
        Subscription.subscriber_id == subscription.subscriber_id,
        Subscription.confirmed_at.is_not(None),
        Subscription.ended_at.is_(None),
    )
    if not everywhere:
        query = query.where(Subscription.publisher_id == subscription.publisher_id)
    return list(session.scalars(query.order_by(Subscription.id)))


def _add_change(
    session: Session,
    subscription: Subscription,
    publisher_ids: list[int],
    address: str,
    *,
    is_way_back: bool = False,
) -> AddressChange:
    change = AddressChange(
        subscription_id=subscription.id,
        publisher_ids=publisher_ids,
        address=address,
        is_way_back=is_way_back,
        requested_at=now(),
    )
    session.add(change)
    session.flush()
    return change


def _queue(
    session: Session,
    kind: Literal["move", "moved"],
    change: AddressChange,
    publisher: Publisher,
    wait_seconds: float = 0,
) -> None:
    """Insert a letter to the address of a change; a suppressed address gets none."""
    suppressed = session.scalar(
        select(Subscriber.suppressed_at).where(Subscriber.address == change.address)
    )
    moment = now()
    session.add(
        OutboxMessage(
            kind=kind,
            subscription_id=change.subscription_id,
            address_change_id=change.id,
            message_id=new_message_id(publisher),
            created_at=moment,
            not_before=int((moment.timestamp() + wait_seconds) * 1000) if wait_seconds else None,
            finished_at=moment if suppressed else None,
            outcome="skipped suppressed" if suppressed else None,
        )
    )


def _read(session: Session, settings: Settings, token: str) -> AddressChange:
    nonces = select(AddressChange.nonce)
    change_id = Tokens(settings).read(
        "move", token, lambda one: session.scalar(nonces.where(AddressChange.id == one))
    )
    change = session.get(AddressChange, change_id)
    if change is None or change.requested_at < now() - MOVE_WITHIN:
        raise InvalidLink("This link is not valid.")
    return change


def _view_of(session: Session, change: AddressChange) -> ChangeView:
    one = subscription_of(session, change.subscription_id)
    return ChangeView(
        view=view_of(session, one),
        names=names_of(session, change),
        done=change.done_at is not None,
    )


def names_of(session: Session, change: AddressChange) -> tuple[str, ...]:
    """Return the names of the press rooms whose releases move."""
    names = select(Publisher.name).where(Publisher.id.in_(change.publisher_ids))
    return tuple(session.scalars(names.order_by(Publisher.name)))


def _locked(session: Session, change: AddressChange, subscription: Subscription) -> AddressChange:
    """Lock the subscribers of both addresses, and read again what an erasure may have changed."""
    both = select(Subscriber.id).where(
        (Subscriber.id == subscription.subscriber_id) | (Subscriber.address == change.address)
    )
    lock_subscribers(session, session.scalars(both).all())
    session.expire_all()
    found = session.scalar(select(AddressChange).where(AddressChange.id == change.id))
    if found is None:
        raise InvalidLink("This link is not valid.")
    return found


def _move(session: Session, settings: Settings, change: AddressChange, evidence: Evidence) -> None:
    subscription = get_subscription(session, change.subscription_id)
    before = session.get_one(Subscriber, subscription.subscriber_id)
    after = _subscriber_at(session, change.address)
    if after is before:
        return
    moved = [
        one
        for publisher_id in change.publisher_ids
        if (one := _move_subscriptions(session, publisher_id, before, after, evidence))
    ]
    if not moved:
        return
    change.done_at = now()
    # The mailbox has answered; what refused the letters to the one before is past.
    after.suppressed_at = after.suppressed_by = None
    after.tried_at, after.tries = now(), 0
    clear_erasure(session, settings, after.address)
    give_place_back(session, settings, subscription)
    if not change.is_way_back:
        publisher_ids = [one.publisher_id for one in moved]
        way_back = _add_change(session, moved[0], publisher_ids, before.address, is_way_back=True)
        _queue(session, "moved", way_back, session.get_one(Publisher, publisher_ids[0]))
    left = select(Subscription.id).where(Subscription.subscriber_id == before.id)
    if session.scalar(left.limit(1)) is None:
        session.delete(before)


def _subscriber_at(session: Session, address: str) -> Subscriber:
    """Find or insert a subscriber."""
    session.execute(
        insert(session, Subscriber)
        .values(address=address, created_at=now())
        .on_conflict_do_nothing(index_elements=["address"])
    )
    return session.scalars(select(Subscriber).where(Subscriber.address == address)).one()


def _move_subscriptions(
    session: Session,
    publisher_id: int,
    before: Subscriber,
    after: Subscriber,
    evidence: Evidence,
) -> Subscription | None:
    """Give what one subscriber has had with a press room to another; return what goes on.

    It is None, and nothing moves, if the one does not follow that press room.
    """
    open_ones = {
        one.subscriber_id: one
        for one in session.scalars(
            select(Subscription).where(
                Subscription.subscriber_id.in_([before.id, after.id]),
                Subscription.publisher_id == publisher_id,
                Subscription.ended_at.is_(None),
            )
        )
    }
    goes_on, other = open_ones.get(before.id), open_ones.get(after.id)
    if goes_on is None or goes_on.confirmed_at is None:
        return None
    if other is not None:
        goes_on = _merge(session, goes_on, other, evidence)
    session.execute(
        update(Subscription)
        .where(
            Subscription.subscriber_id == before.id,
            Subscription.publisher_id == publisher_id,
        )
        .values(subscriber_id=after.id)
    )
    record_consent(session, goes_on, "moved", evidence, None)
    return goes_on


def _merge(
    session: Session, own: Subscription, other: Subscription, evidence: Evidence
) -> Subscription:
    """End one of the two open subscriptions, and return the other one, with the own preferences.

    The other one goes on if it is confirmed: its mailbox may have got a release already that is
    still to be sent to the own one.
    """
    ends, goes_on = (own, other) if other.confirmed_at else (other, own)
    ends.ended_at, ends.ended_reason = now(), "merged"
    record_consent(session, ends, "merged", evidence, None)
    goes_on.locale, goes_on.paused_until = own.locale, own.paused_until
    session.flush()
    return goes_on
