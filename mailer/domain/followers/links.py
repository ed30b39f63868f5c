"""Links: which subscription a link in a letter, or mail to an address in one, is about now.

A link is for a person and a press room, whatever has become of the row that it was signed for.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.orm import Session

from mailer.config import Settings
from mailer.domain.followers.subscriptions import SubscriptionView, subscription_of, view_of
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


def _nonces(session: Session) -> NonceOf:
    nonces = select(Subscription.nonce)
    return lambda one: session.scalar(nonces.where(Subscription.id == one))
