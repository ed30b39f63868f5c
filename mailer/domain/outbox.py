"""The outbox: letters to one person, promised in the transaction that gives the reason."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from mailer.domain.addresses import domain
from mailer.domain.clock import now
from mailer.storage.models import OutboxLetter, Publisher, Subscription

LetterKind = Literal["confirm", "welcome", "goodbye", "manage"]

CONFIRMATIONS_AN_HOUR = 2
"""One letter, and one more for whoever asks again."""
LETTERS_A_DAY = 5
"""To one person, from all press rooms together: more would be a way to pester somebody."""


def post(session: Session, kind: LetterKind, subscription: Subscription) -> str:
    """Write down a letter to be sent after the commit, and return its Message-ID."""
    publisher = session.get_one(Publisher, subscription.publisher_id)
    message_id = f"{secrets.token_hex(16)}@{domain(publisher.from_address)}"
    session.add(
        OutboxLetter(
            kind=kind,
            subscription_id=subscription.id,
            message_id=message_id,
            created_at=now(),
        )
    )
    return message_id


def may_ask_to_confirm(session: Session, subscription: Subscription) -> bool:
    """Tell whether another confirmation letter would still be polite.

    Held by the database, so that it also holds where no cache remembers who asked.
    """
    recent = _letters_since(timedelta(hours=1)).where(
        OutboxLetter.kind == "confirm", OutboxLetter.subscription_id == subscription.id
    )
    return session.scalars(recent).one() < CONFIRMATIONS_AN_HOUR and may_write(
        session, subscription
    )


def may_write(session: Session, subscription: Subscription) -> bool:
    """Tell whether this person has not had all of today's letters yet."""
    today = (
        _letters_since(timedelta(days=1))
        .join(Subscription, Subscription.id == OutboxLetter.subscription_id)
        .where(Subscription.subscriber_id == subscription.subscriber_id)
    )
    return session.scalars(today).one() < LETTERS_A_DAY


def _letters_since(age: timedelta) -> Select[int]:
    since: datetime = now() - age
    return select(func.count()).select_from(OutboxLetter).where(OutboxLetter.created_at > since)
