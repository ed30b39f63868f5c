"""Links: which subscription a link in a letter, or mail to an address in one, is about now.

A link is for a person and a press room, whatever has become of the row that it was signed for.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.orm import Session

from mailer.config import Settings
from mailer.domain.followers.subscriptions import SubscriptionView, get_subscription, view_of
from mailer.domain.tokens import NonceOf, Purpose, Tokens
from mailer.domain.verp import ReturnPath, ReturnPaths
from mailer.storage.database import read_transaction
from mailer.storage.models import Subscription


def opened(settings: Settings, purpose: Purpose, token: str) -> SubscriptionView:
    """Return what a link opens; raises InvalidLink, ExpiredLink."""
    with read_transaction() as session:
        subscription_id = Tokens(settings).read(purpose, token, _nonces(session))
        return view_of(session, subscription_of(session, subscription_id))


def opened_by_mail(
    settings: Settings, addresses: Iterable[str]
) -> tuple[ReturnPath, SubscriptionView]:
    """Return what mail to the first of these addresses that is ours is about.

    Raises UnknownMailbox, InvalidLink.
    """
    with read_transaction() as session:
        path = ReturnPaths(settings).read(addresses, _nonces(session))
        return path, view_of(session, subscription_of(session, path.subscription_id))


def look_up(subscription_id: int) -> SubscriptionView:
    """Return what a link to a subscription opens; raises InvalidLink."""
    with read_transaction() as session:
        return view_of(session, subscription_of(session, subscription_id))


def subscription_of(session: Session, subscription_id: int) -> Subscription:
    """Return the open subscription of the same person with the same press room.

    If none is open, it is the one that ended last. Where the person is erased, it is the row
    itself. Raises InvalidLink.
    """
    signed_for = get_subscription(session, subscription_id)
    if signed_for.subscriber_id is None:
        return signed_for
    return session.scalars(
        select(Subscription)
        .where(
            Subscription.subscriber_id == signed_for.subscriber_id,
            Subscription.publisher_id == signed_for.publisher_id,
        )
        .order_by(
            Subscription.ended_at.is_(None).desc(),
            Subscription.ended_at.desc(),
            Subscription.id.desc(),
        )
        .limit(1)
    ).one()


def _nonces(session: Session) -> NonceOf:
    nonces = select(Subscription.nonce)
    return lambda one: session.scalar(nonces.where(Subscription.id == one))
