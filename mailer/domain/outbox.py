"""The outbox: letters to one subscriber or press room, queued in their reason's transaction."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Literal

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from mailer.mail.addresses import domain
from mailer.storage.models import OutboxMessage, Publisher, Release, Subscription
from mailer.storage.types import now

LetterKind = Literal[
    "confirm", "following", "welcome", "goodbye", "manage", "move", "moved", "notice"
]
NO_NOTICES = "none"
"""As `notices` of a press room: no notice is sent when a release pauses itself."""

LETTERS_A_DAY = 5
"""To one subscriber, from all press rooms together, before goodbyes and the like are left out."""


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


def queue_notice(session: Session, release_id: int) -> None:
    """Insert a notice to the press room of a paused release, unless one waits that will list it.

    One that waits for its next try is due at once, with all its tries: its waits belong to an
    older pause. A notice that is being sent lists what was paused when it was claimed, so another
    follows it.
    """
    release = session.get_one(Release, release_id)
    # One at a time for a press room; like `locked` of releases, it leaves foreign keys alone.
    publisher = session.get_one(
        Publisher,
        release.publisher_id,
        with_for_update={"key_share": True},
        populate_existing=True,
    )
    waiting = (
        OutboxMessage.finished_at.is_(None),
        OutboxMessage.lease_until.is_(None),
        OutboxMessage.kind == "notice",
        OutboxMessage.release_id.in_(
            select(Release.id).where(Release.publisher_id == publisher.id)
        ),
    )
    renewed = (
        update(OutboxMessage)
        .where(*waiting)
        .values(attempts=0, not_before=None, created_at=now())
        .returning(OutboxMessage.id)
    )
    if publisher.notices == NO_NOTICES or session.scalars(renewed).first() is not None:
        return
    session.add(
        OutboxMessage(
            kind="notice",
            release_id=release.id,
            message_id=new_message_id(publisher),
            created_at=now(),
        )
    )


def under_letter_limit(session: Session, subscription: Subscription) -> bool:
    """Tell whether fewer than LETTERS_A_DAY letters to the subscriber were queued in 24 hours."""
    today = (
        select(func.count())
        .select_from(OutboxMessage)
        .join(Subscription, Subscription.id == OutboxMessage.subscription_id)
        .where(
            OutboxMessage.created_at > now() - timedelta(days=1),
            OutboxMessage.address_change_id.is_(None),
            Subscription.subscriber_id == subscription.subscriber_id,
        )
    )
    return session.scalars(today).one() < LETTERS_A_DAY


def new_message_id(publisher: Publisher) -> str:
    """Return a new Message-ID that cannot be guessed, without angle brackets."""
    return f"{secrets.token_hex(16)}@{domain(publisher.from_address)}"
