"""The outbox: letters to one subscriber, queued in the transaction that is their reason."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Literal

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from mailer.mail.addresses import domain
from mailer.storage.models import OutboxMessage, Publisher, Subscription
from mailer.storage.types import now

LetterKind = Literal["confirm", "welcome", "goodbye", "manage"]

CONFIRMATIONS_AN_HOUR = 2
"""For each subscription: one letter, and one more if the visitor signs up again."""
LETTERS_A_DAY = 5
"""To one subscriber, from all press rooms together: a limit against flooding a mailbox."""


def queue_letter(session: Session, kind: LetterKind, subscription: Subscription) -> str:
    """Insert an outbox message, to be sent after the commit, and return its Message-ID."""
    message_id = new_message_id(session.get_one(Publisher, subscription.publisher_id))
    session.add(
        OutboxMessage(
            kind=kind,
            subscription_id=subscription.id,
            message_id=message_id,
            created_at=now(),
        )
    )
    return message_id


def under_letter_limit(session: Session, subscription: Subscription) -> bool:
    """Tell whether fewer than LETTERS_A_DAY letters to the subscriber were queued in 24 hours."""
    today = (
        select(func.count())
        .select_from(OutboxMessage)
        .join(Subscription, Subscription.id == OutboxMessage.subscription_id)
        .where(
            OutboxMessage.created_at > now() - timedelta(days=1),
            Subscription.subscriber_id == subscription.subscriber_id,
        )
    )
    return session.scalars(today).one() < LETTERS_A_DAY


def new_message_id(publisher: Publisher) -> str:
    """Return a new Message-ID that cannot be guessed, without angle brackets."""
    return f"{secrets.token_hex(16)}@{domain(publisher.from_address)}"
