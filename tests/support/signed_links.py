"""Links to subscriptions, signed as the letters of a press room sign them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from mailer.config import Settings
from mailer.domain.followers.subscriptions import (
    SubscriptionView,
    get_subscription,
    view_of,
)
from mailer.domain.tokens import Purpose, Tokens
from mailer.storage.database import read_transaction
from mailer.storage.models import Subscription


def nonce_of(subscription_id: int) -> int | None:
    """Return what a letter to a subscription is signed with, besides its id."""
    with read_transaction() as session:
        nonces = select(Subscription.nonce).where(Subscription.id == subscription_id)
        return session.scalar(nonces)


@dataclass(frozen=True)
class SignedLinks:
    """Signs links to the subscriptions of an application's database."""

    settings: Settings
    app: Any

    def token(self, purpose: Purpose, subscription_id: int) -> str:
        """Return the token that a letter to a subscription carries."""
        with self.app.app_context():
            nonce = nonce_of(subscription_id)
        return Tokens(self.settings).token(purpose, subscription_id, nonce)


def look_up(subscription_id: int) -> SubscriptionView:
    """Return a subscription itself, whatever came after it. Raises InvalidLink."""
    with read_transaction() as session:
        return view_of(session, get_subscription(session, subscription_id))
