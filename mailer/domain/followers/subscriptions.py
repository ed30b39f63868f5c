"""The life of a subscription: requested, confirmed, ended, and perhaps resumed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from sqlalchemy import and_, select
from sqlalchemy.orm import Session, aliased

from mailer.config import Settings
from mailer.domain.followers import ways_out
from mailer.domain.followers.erasure import clear_erasure, keep_owners, lock_erased
from mailer.domain.followers.signup import Answer, ask_to_confirm, give_place_back
from mailer.domain.followers.suppression import lift_suppression
from mailer.domain.outbox import queue_letter, under_letter_limit
from mailer.errors import InvalidLink
from mailer.mail.addresses import canonical, masked
from mailer.storage.database import transaction
from mailer.storage.models import Consent, Publisher, Subscriber, Subscription
from mailer.storage.queues import wake
from mailer.storage.types import now

WORDING = "follow-1"
"""The version of the follow box's text, kept with each consent; change it with the text."""

UNDONE_WITHIN = timedelta(days=30)

Way = Literal["page", "one-click", "mailto"]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a consent row keeps of a request; `network` is the IP prefix of the visitor."""

    language: str
    page: str
    network: str | None


@dataclass(frozen=True, slots=True)
class SubscriptionView:
    """A subscription as its owner sees it; links to it are signed with its id and its nonce."""

    id: int
    nonce: int | None
    publisher: Publisher
    locale: str
    confirmed: bool
    ended: bool
    undoable: bool
    """Whether an unsubscription can be undone; afterwards, only a sign-up leads back."""
    address: str | None
    """Masked, because a forwarded letter opens the page to other readers; None once erased."""

    @property
    def erased(self) -> bool:
        """Whether its subscriber has been deleted."""
        return self.address is None


def sign_up(
    settings: Settings,
    publisher: Publisher,
    address: str,
    evidence: Evidence,
    wait_seconds: float = 0,
) -> Answer:
    """Record a sign-up, and queue the letter that asks the address to confirm, if one is due.

    It leaves after `wait_seconds`. The answer depends on what was signed up before, by whomever,
    and never on whether the address is known otherwise. Raises InvalidAddress.
    """
    address = canonical(address, smtputf8=settings.smtputf8)
    proof = _consent_values("requested", evidence)
    with transaction() as session:
        answer = ask_to_confirm(session, settings, publisher, address, proof, wait_seconds)
    wake(settings.redis_url, "letters")
    return answer


def confirm(settings: Settings, subscription_id: int, evidence: Evidence) -> SubscriptionView:
    """Confirm a subscription, unless it is confirmed or ended already. Raises InvalidLink."""
    with transaction() as session:
        # An import locks this table first.
        lock_erased(session, "ROW EXCLUSIVE")
        subscription = subscription_of(session, subscription_id, lock=True)
        if subscription.ended_at is None:
            person = session.get_one(Subscriber, subscription.subscriber_id)
            lift_suppression(person)
        if subscription.confirmed_at is None and subscription.ended_at is None:
            subscription.confirmed_at = now()
            clear_erasure(session, settings, person.address)
            give_place_back(session, settings, subscription)
            message_id = queue_letter(session, "welcome", subscription)
            record_consent(session, subscription, "confirmed", evidence, message_id)
        view = view_of(session, subscription)
    wake(settings.redis_url, "letters")
    return view


def unsubscribe(
    settings: Settings, subscription_id: int, evidence: Evidence, way: Way = "page"
) -> SubscriptionView:
    """End a subscription at once; an ended one is left unchanged. Raises InvalidLink."""
    with transaction() as session:
        subscription = subscription_of(session, subscription_id, lock=True)
        if subscription.ended_at is None:
            subscription.ended_at = now()
            subscription.ended_reason = f"unsubscribed: {way}"
            confirmed = subscription.confirmed_at is not None
            # Limited, since the reader of a forwarded letter can unsubscribe and resume repeatedly.
            tell = confirmed and under_letter_limit(session, subscription)
            message_id = queue_letter(session, "goodbye", subscription) if tell else None
            record_consent(session, subscription, "unsubscribed", evidence, message_id)
            ways_out.note(session, settings, "left", subscription)
        view = view_of(session, subscription)
    wake(settings.redis_url, "letters")
    return view


def resume(settings: Settings, subscription_id: int, evidence: Evidence) -> SubscriptionView:
    """Undo an unsubscription by opening the same row again. Raises InvalidLink.

    The row stays ended after 30 days, or if the subscriber has signed up again or was deleted.
    """
    with transaction() as session:
        subscription = subscription_of(session, subscription_id, lock=True)
        if _is_undoable(subscription):
            subscription.ended_at = None
            subscription.ended_reason = None
            record_consent(session, subscription, "resumed", evidence, None)
            ways_out.note(session, settings, "returned", subscription)
        return view_of(session, subscription)


def _is_undoable(subscription: Subscription) -> bool:
    ended, gone = subscription.ended_at, subscription.subscriber_id is None
    return ended is not None and not gone and now() - ended <= UNDONE_WITHIN


def subscription_of(session: Session, subscription_id: int, *, lock: bool = False) -> Subscription:
    """Return the open subscription of the same person with the same press room.

    If none is open, it is the one that ended last. Where the person is erased, it is the row
    itself. `lock` locks subscriber and subscription, in this order. Raises InvalidLink.
    """
    signed_for = aliased(Subscription)
    # One statement: between two, a change of address could give the row to another subscriber.
    found = (
        select(Subscription)
        .join(
            signed_for,
            and_(
                signed_for.subscriber_id == Subscription.subscriber_id,
                signed_for.publisher_id == Subscription.publisher_id,
            ),
        )
        .where(signed_for.id == subscription_id)
        .order_by(
            Subscription.ended_at.is_(None).desc(),
            Subscription.ended_at.desc(),
            Subscription.id.desc(),
        )
        .limit(1)
    )
    if lock:
        keep_owners(session)
        owner = select(Subscription.subscriber_id).where(Subscription.id == subscription_id)
        person = select(Subscriber.id).where(Subscriber.id == owner.scalar_subquery())
        session.execute(person.with_for_update(key_share=True))
        found = found.with_for_update(of=Subscription, key_share=True)
    return session.scalar(found) or get_subscription(session, subscription_id, lock=lock)


def get_subscription(session: Session, subscription_id: int, *, lock: bool = False) -> Subscription:
    """Return a subscription, optionally locked until the commit; raises InvalidLink."""
    query = select(Subscription).where(Subscription.id == subscription_id)
    subscription = session.scalar(query.with_for_update(key_share=True) if lock else query)
    if subscription is None:
        raise InvalidLink("This link is not valid.")
    return subscription


def view_of(session: Session, subscription: Subscription) -> SubscriptionView:
    """Return a subscription as its owner sees it."""
    person = subscription.subscriber_id and session.get(Subscriber, subscription.subscriber_id)
    return SubscriptionView(
        id=subscription.id,
        nonce=subscription.nonce,
        publisher=session.get_one(Publisher, subscription.publisher_id),
        locale=subscription.locale,
        confirmed=subscription.confirmed_at is not None,
        ended=subscription.ended_at is not None,
        undoable=_is_undoable(subscription),
        address=masked(person.address) if person else None,
    )


def record_consent(
    session: Session,
    subscription: Subscription,
    step: str,
    evidence: Evidence,
    message_id: str | None,
) -> None:
    """Add a consent row, which is proof of one step of a subscription."""
    proof = _consent_values(step, evidence)
    session.add(Consent(subscription_id=subscription.id, message_id=message_id, **proof))


def _consent_values(step: str, evidence: Evidence) -> dict[str, Any]:
    return {
        "step": step,
        "at": now(),
        "wording": WORDING,
        "language": evidence.language,
        "page": evidence.page,
        "network": evidence.network,
    }
