"""The outbox: letters to one person, promised in the transaction that gives the reason."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session, aliased

from mailer.domain.addresses import domain
from mailer.domain.clock import now
from mailer.storage.database import as_row, insert
from mailer.storage.models import OutboxLetter, Publisher, Subscriber, Subscription

LetterKind = Literal["confirm", "welcome", "goodbye", "manage"]

CONFIRMATIONS_AN_HOUR = 2
"""One letter, and one more for whoever asks again."""
LETTERS_A_DAY = 5
"""To one person, from all press rooms together: more would be a way to pester somebody."""


def post(session: Session, kind: LetterKind, subscription: Subscription) -> str:
    """Write down a letter to be sent after the commit, and return its Message-ID."""
    message_id = _new_message_id(session.get_one(Publisher, subscription.publisher_id))
    session.add(
        OutboxLetter(
            kind=kind,
            subscription_id=subscription.id,
            message_id=message_id,
            created_at=now(),
        )
    )
    return message_id


def ask_to_confirm(session: Session, subscription_id: int, publisher: Publisher) -> str:
    """Write down the question behind a sign-up, if it is called for; return its Message-ID.

    It is not for whoever has confirmed, for a mailbox that does not exist, and for whoever has
    had as many letters as are polite. One statement either way, so that its time tells little;
    and held by the database, so that it holds where no cache remembers who asked.
    """
    message_id = _new_message_id(publisher)
    recent = _letters_since(timedelta(hours=1)).where(
        OutboxLetter.kind == "confirm", OutboxLetter.subscription_id == subscription_id
    )
    today = _letters_today(Subscriber.id).correlate(Subscriber)
    letter = {
        "kind": "confirm",
        "subscription_id": subscription_id,
        "message_id": message_id,
        "created_at": now(),
    }
    wanted = (
        select(*as_row(OutboxLetter, letter))
        .select_from(Subscription)
        .join(Subscriber, Subscriber.id == Subscription.subscriber_id)
        .where(
            Subscription.id == subscription_id,
            Subscription.confirmed_at.is_(None),
            Subscriber.suppressed_at.is_(None),
            recent.scalar_subquery() < CONFIRMATIONS_AN_HOUR,
            today.scalar_subquery() < LETTERS_A_DAY,
        )
    )
    session.execute(insert(session, OutboxLetter).from_select(list(letter), wanted))
    return message_id


def may_write(session: Session, subscription: Subscription) -> bool:
    """Tell whether this person has not had all of today's letters yet."""
    today = _letters_today(subscription.subscriber_id)
    return session.scalars(today).one() < LETTERS_A_DAY


def _new_message_id(publisher: Publisher) -> str:
    return f"{secrets.token_hex(16)}@{domain(publisher.from_address)}"


def _letters_today(subscriber_id: object) -> Select[int]:
    theirs = aliased(Subscription)
    return (
        _letters_since(timedelta(days=1))
        .join(theirs, theirs.id == OutboxLetter.subscription_id)
        .where(theirs.subscriber_id == subscriber_id)
    )


def _letters_since(age: timedelta) -> Select[int]:
    since: datetime = now() - age
    return select(func.count()).select_from(OutboxLetter).where(OutboxLetter.created_at > since)
