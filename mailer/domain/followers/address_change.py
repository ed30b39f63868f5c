"""A change of address: a follower asks, the new mailbox agrees, and the one before is told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from mailer.config import Settings
from mailer.domain.followers.erasure import (
    clear_erasure,
    keep_owners,
    lock_subscribers,
)
from mailer.domain.followers.moves import bring_back, give, is_to_move, parts
from mailer.domain.followers.signup import Answer, count_letter
from mailer.domain.followers.subscriptions import (
    Evidence,
    SubscriptionView,
    get_subscription,
    subscription_of,
    view_of,
)
from mailer.domain.outbox import new_message_id
from mailer.domain.tokens import Tokens
from mailer.errors import InvalidLink
from mailer.mail.addresses import canonical, masked
from mailer.mail.content import MOVE_WITHIN
from mailer.storage.database import read_transaction, transaction
from mailer.storage.models import (
    AddressChange,
    MovingSubscription,
    OutboxMessage,
    Publisher,
    Subscriber,
    Subscription,
)
from mailer.storage.queues import wake
from mailer.storage.sql import insert
from mailer.storage.types import now


@dataclass(frozen=True, slots=True)
class ChangeView:
    """A change of address as the new mailbox sees it."""

    view: SubscriptionView
    """One of the subscriptions that move."""
    address: str
    """The new one, or the one after it if the subscriptions have moved on; masked."""
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
) -> Answer:
    """Mail another address a link, by which the releases of one or all press rooms come there.

    The answer does not depend on what is known about that address. The letter leaves after
    `wait_seconds`. Raises InvalidAddress, InvalidLink.
    """
    address = canonical(address, smtputf8=settings.smtputf8)
    with transaction() as session:
        page = get_subscription(session, subscription_id)
        publisher = session.get_one(Publisher, page.publisher_id)
        # Before the subscriber: a sign-up locks the mailbox first, too.
        answer = count_letter(session, settings, publisher, address)
        page = subscription_of(session, subscription_id, lock=True)
        followed = _followed(session, page, everywhere=everywhere)
        if answer == "asked" and followed:
            change = AddressChange(
                subscriber_id=page.subscriber_id,
                address=address,
                is_way_back=False,
                requested_at=now(),
            )
            _queue(session, change, publisher, followed, wait_seconds=wait_seconds)
    wake(settings.redis_url, "letters")
    return answer


def look_up(settings: Settings, token: str) -> ChangeView:
    """Return what the link in a letter would change; raises InvalidLink."""
    with read_transaction() as session:
        return _view_of(session, _read(session, settings, token))


def move(settings: Settings, token: str, evidence: Evidence) -> ChangeView:
    """Change the address, unless that is done already; raises InvalidLink."""
    with transaction() as session:
        keep_owners(session, change=True)
        change = _read(session, settings, token)
        if change.done_at is None and names_of(session, change):
            after = _lock_both(session, change)
            if change.is_way_back:
                bring_back(session, change, evidence)
            else:
                _move(session, settings, change, after, evidence)
        view = _view_of(session, change)
    wake(settings.redis_url, "letters")
    return view


def has_way_back(session: Session, subscription: Subscription) -> bool:
    """Tell whether the mailbox of before a change can still bring something back from here."""
    way_back = (
        select(AddressChange.id)
        .join(MovingSubscription)
        .join(Subscription, Subscription.id == MovingSubscription.subscription_id)
        .where(
            Subscription.subscriber_id == subscription.subscriber_id,
            AddressChange.subscriber_id != subscription.subscriber_id,
            AddressChange.is_way_back,
            AddressChange.done_at.is_(None),
            AddressChange.requested_at > now() - MOVE_WITHIN,
        )
    )
    return session.scalar(way_back.limit(1)) is not None


def names_of(session: Session, change: AddressChange) -> tuple[str, ...]:
    """Return the names of the press rooms whose releases move; none if all were left meanwhile."""
    names = (
        select(Publisher.name)
        .join(Subscription)
        .join(MovingSubscription)
        .join(AddressChange)
        .where(
            AddressChange.id == change.id,
            MovingSubscription.goes_on,
            or_(AddressChange.is_way_back, AddressChange.done_at.is_not(None), is_to_move()),
        )
    )
    return tuple(session.scalars(names.order_by(Publisher.name)))


def _followed(session: Session, page: Subscription, *, everywhere: bool) -> Sequence[Subscription]:
    """Return the open subscriptions of the subscriber: all, or that to the press room alone."""
    query = select(Subscription).where(
        Subscription.subscriber_id == page.subscriber_id,
        Subscription.confirmed_at.is_not(None),
        Subscription.ended_at.is_(None),
    )
    if not everywhere:
        query = query.where(Subscription.publisher_id == page.publisher_id)
    return session.scalars(query.order_by(Subscription.id)).all()


def _queue(
    session: Session,
    change: AddressChange,
    publisher: Publisher,
    go_on: Iterable[Subscription],
    come_along: Iterable[Subscription] = (),
    wait_seconds: float = 0,
) -> None:
    """Insert a change and the letter to its address; a suppressed address gets none."""
    session.add(change)
    session.flush()
    go_on = list(go_on)
    for one in (*go_on, *come_along):
        part = MovingSubscription(
            address_change_id=change.id, subscription_id=one.id, goes_on=one in go_on
        )
        session.add(part)
    suppressed = session.scalar(
        select(Subscriber.suppressed_at).where(Subscriber.address == change.address)
    )
    moment = now()
    session.add(
        OutboxMessage(
            kind="moved" if change.is_way_back else "move",
            subscription_id=go_on[0].id,
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
    those = parts(change).where(MovingSubscription.goes_on)
    there = session.scalar(those.join(Subscriber).where(Subscriber.address == change.address))
    one = there or session.scalars(those.limit(1)).one()
    view = view_of(session, subscription_of(session, one.id))
    has_gone_on = change.done_at is not None and there is None
    return ChangeView(
        view=view,
        address=(view.address or "") if has_gone_on else masked(change.address),
        names=names_of(session, change),
        done=change.done_at is not None,
    )


def _lock_both(session: Session, change: AddressChange) -> Subscriber:
    """Lock the subscribers who have a part of a change, and the new one; return the new one."""
    session.execute(
        insert(session, Subscriber)
        .values(address=change.address, created_at=now())
        .on_conflict_do_nothing(index_elements=["address"])
    )
    after = session.scalars(select(Subscriber).where(Subscriber.address == change.address)).one()
    holders = select(parts(change).subquery().c.subscriber_id)
    lock_subscribers(session, [after.id, *filter(None, session.scalars(holders))])
    return after


def _move(
    session: Session,
    settings: Settings,
    change: AddressChange,
    after: Subscriber,
    evidence: Evidence,
) -> None:
    """Move what the subscriber still follows, and queue the letter with the way back."""
    moment = now()
    if after.id == change.subscriber_id:
        change.done_at = moment
        return
    following, past = give(session, change, after.id, moment, evidence)
    change.done_at = moment
    # The mailbox has answered; what refused the letters to the one before is past.
    after.suppressed_at = after.suppressed_by = None
    after.tried_at, after.tries = moment, 0
    clear_erasure(session, settings, after.address)
    before = session.get_one(Subscriber, change.subscriber_id)
    way_back = AddressChange(
        subscriber_id=before.id, address=before.address, is_way_back=True, requested_at=moment
    )
    publisher = session.get_one(Publisher, following[0].publisher_id)
    _queue(session, way_back, publisher, following, past)
