"""Outbox messages: how they are claimed, finished, and tried again while they are of use."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from mailer.domain.followers.address_change import names_of
from mailer.domain.outbox import NO_NOTICES
from mailer.fanout.answers.replies import Verdict
from mailer.mail.content import PausedRelease
from mailer.storage.leases import Key, is_free, is_lost, taken
from mailer.storage.models import (
    AddressChange,
    OutboxMessage,
    Publisher,
    Release,
    Subscriber,
    Subscription,
)
from mailer.storage.sql import database_now
from mailer.storage.types import now

_WAITS = (1, 12, 48, 288)
"""Waits between attempts, each times MAILER_RETRY_SECONDS: 5 minutes, an hour, 4 hours, a day."""
_OF_USE = timedelta(hours=48)
"""How long a confirmation can be used; the other letters are tried as long."""
_TRIED_AGAIN = ("deferred", "doubted", "unanswered")
_DUE = select(OutboxMessage.id).where(OutboxMessage.finished_at.is_(None), *is_free(OutboxMessage))
_FREEING = (
    update(OutboxMessage)
    .where(OutboxMessage.finished_at.is_(None), is_lost(OutboxMessage))
    .values(epoch=OutboxMessage.epoch + 1, lease_until=None)
)


@dataclass(frozen=True, slots=True, eq=False)
class ClaimedMessage:
    """One claimed outbox message, and everything needed to compose and send it."""

    outbox_id: int
    epoch: int
    kind: str
    message_id: str
    created_at: datetime
    dated_at: datetime
    attempts: int
    before: str
    """What became of the attempt before."""
    address: str | None
    locale: str
    publisher: Publisher
    subscription_id: int | None = None
    """None for a notice to the press room."""
    nonce: int | None = None
    confirmed_at: datetime | None = None
    paused_until: datetime | None = None
    has_left: bool = False
    change: AddressChange | None = None
    names: tuple[str, ...] = ()
    """For a change of address: the press rooms whose releases move."""
    paused: tuple[PausedRelease, ...] = ()
    """For a notice: the paused releases of the press room."""
    release_id: int | None = None
    probe: bool = False
    """Whether it is sent to find out whether the relay is well."""

    @property
    def key(self) -> Key:
        """The id of the row, and its epoch."""
        return self.outbox_id, self.epoch


def messages_are_waiting(session: Session) -> bool:
    """Tell whether an outbox message is due and not leased."""
    return session.scalar(_DUE.limit(1)) is not None


def claim_messages(
    session: Session, lease_seconds: int, at_most: int = 1, *, probe: bool = False
) -> list[ClaimedMessage]:
    """Claim the oldest messages that are due; each lease is fenced by an epoch, as a batch's is."""
    candidates = _DUE.order_by(OutboxMessage.id).limit(at_most).with_for_update(skip_locked=True)
    letters = session.scalars(
        update(OutboxMessage)
        .where(OutboxMessage.id.in_(candidates))
        .values(**taken(OutboxMessage), dated_at=func.coalesce(OutboxMessage.dated_at, now()))
        .returning(OutboxMessage)
        .execution_options(synchronize_session=False, populate_existing=True),
        {"lease": lease_seconds * 1000},
    ).all()
    return [_claimed(session, letter, probe=probe) for letter in letters]


def _claimed(session: Session, letter: OutboxMessage, *, probe: bool) -> ClaimedMessage:
    if letter.subscription_id is None:
        addressee = _press_room(session, letter)
    else:
        addressee = _subscriber(session, letter.subscription_id)
    if letter.kind in ("move", "moved"):
        addressee |= _mailbox_of_change(session, letter)
    return ClaimedMessage(
        outbox_id=letter.id,
        epoch=letter.epoch,
        kind=letter.kind,
        message_id=letter.message_id,
        created_at=letter.created_at,
        dated_at=letter.dated_at or letter.created_at,
        attempts=letter.attempts,
        before=letter.outcome or "",
        probe=probe,
        **addressee,
    )


def _subscriber(session: Session, subscription_id: int) -> dict[str, Any]:
    subscription = session.get_one(Subscription, subscription_id)
    person = subscription.subscriber_id and session.get(Subscriber, subscription.subscriber_id)
    return {
        "subscription_id": subscription.id,
        "nonce": subscription.nonce,
        "confirmed_at": subscription.confirmed_at,
        "paused_until": subscription.paused_until,
        "address": person.address if person else None,
        "has_left": subscription.ended_at is not None,
        "locale": subscription.locale,
        "publisher": session.get_one(Publisher, subscription.publisher_id),
    }


def _mailbox_of_change(session: Session, letter: OutboxMessage) -> dict[str, Any]:
    """Return where a letter about a change of address goes: nowhere, if its row is no more."""
    change = letter.address_change_id and session.get(AddressChange, letter.address_change_id)
    if not change:
        return {"address": None}
    return {"address": change.address, "change": change, "names": names_of(session, change)}


def _press_room(session: Session, letter: OutboxMessage) -> dict[str, Any]:
    """Return where a notice goes, and what is paused at this moment."""
    release = session.get_one(Release, letter.release_id)
    publisher = session.get_one(Publisher, release.publisher_id)
    paused = (
        select(Release.id, Release.paused_because)
        .where(
            Release.finished_at.is_(None),
            Release.state == "paused",
            Release.publisher_id == publisher.id,
        )
        .order_by(Release.id)
    )
    rows = session.execute(paused).all()
    address = publisher.notices or publisher.from_address
    return {
        "address": None if address == NO_NOTICES else address,
        "locale": publisher.locale,
        "publisher": publisher,
        "paused": tuple(PausedRelease(one, because or "") for one, because in rows),
    }


def finish_message(
    session: Session, claimed: ClaimedMessage, verdict: Verdict, retry_seconds: int
) -> None:
    """Record what became of a message, if its lease is still ours.

    Whom the relay put off or refused is tried again with growing waits, for as long as the letter
    is of use; it may be the relay's fault. A second dot that is not answered ends the attempts.
    """
    outcome = f"{verdict.kind} {verdict.reason}".strip()[:40]
    values: dict[str, object] = {
        "lease_until": None,
        "attempts": claimed.attempts + 1,
        "outcome": outcome,
    }
    twice = verdict.kind == "unanswered" and claimed.before.startswith("unanswered")
    tried_again = verdict.kind in _TRIED_AGAIN and not twice and claimed.attempts < len(_WAITS)
    if tried_again and now() - claimed.created_at < _OF_USE:
        wait = retry_seconds * _WAITS[claimed.attempts]
        values["not_before"] = database_now() + wait * 1000
    else:
        values["finished_at"] = now()
    _write(session, claimed, values)


def hand_back_message(session: Session, claimed: ClaimedMessage, seconds: int) -> None:
    """Free a message that could not be tried; no attempt is counted."""
    _write(
        session,
        claimed,
        {"lease_until": None, "not_before": database_now() + seconds * 1000},
    )


def free_lost_messages(session: Session) -> None:
    """Free messages whose lease has run out, so that they are claimed again."""
    session.execute(_FREEING)


def _write(session: Session, claimed: ClaimedMessage, values: dict[str, object]) -> None:
    session.execute(
        update(OutboxMessage)
        .where(OutboxMessage.id == claimed.outbox_id, OutboxMessage.epoch == claimed.epoch)
        .values(values)
    )
