"""The sweep: finds lost and overdue work in the rows; any number of processes may run it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from sqlalchemy import select, update
from sqlalchemy.exc import InternalError, OperationalError
from sqlalchemy.orm import Session

from mailer.config import Settings
from mailer.domain.followers.retention import apply_retention
from mailer.domain.releases.lifecycle import finish_if_complete, pause
from mailer.fanout.batches import releases_waiting
from mailer.fanout.freeze import release_is_due
from mailer.fanout.outbox_delivery import free_lost_messages, messages_are_waiting
from mailer.fanout.outcomes import expire, note_uncertain, retry_due
from mailer.storage.database import database_now, identity, read_transaction, transaction
from mailer.storage.models import Batch, BatchMembers, Release
from mailer.storage.queues import wake
from mailer.storage.types import now

log = logging.getLogger(__name__)


def sweep(settings: Settings, *, thorough: bool = False) -> None:
    """Run every chore once; a database that is away is logged, and the next sweep tries again.

    A `thorough` sweep also deletes what retention no longer keeps, which reads all subscribers.
    """
    try:
        for chore in (pause_restored, free_lost_batches, free_lost_messages, hold_due, expire):
            _in_one_transaction(chore)
        for release_id in _running():
            _in_one_transaction(partial(retry_due, release_id=release_id))
            _in_one_transaction(partial(finish_if_complete, release_id=release_id))
        _wake_where_needed(settings)
        if thorough:
            apply_retention(settings)
    # InternalError: PostgreSQL ended the transaction while this host was frozen.
    except (OperationalError, InternalError) as error:
        log.warning("The database does not answer: %s. Trying on.", type(error).__name__)


def free_lost_batches(session: Session) -> None:
    """Free batches whose lease has run out, and list one recipient of each as uncertain.

    Only the recipient at a batch's position may have the message without a record of it: the
    dot of the next message does not leave before that record is durable.
    """
    lost = session.scalars(
        select(Batch)
        .where(Batch.open, Batch.lease_until < database_now())
        .with_for_update(skip_locked=True)
    ).all()
    for batch in lost:
        log.warning("The lease of batch %d ran out.", batch.id)
        recipient = session.get_one(BatchMembers, batch.id).ids[batch.position]
        note_uncertain(session, batch.release_id, [recipient], "lost lease")
        batch.epoch += 1
        batch.lease_until = None


def hold_due(session: Session) -> None:
    """Put scheduled releases on hold whose moment of publication has come."""
    session.execute(
        update(Release)
        .where(
            Release.finished_at.is_(None),
            Release.state == "scheduled",
            Release.published_at <= now(),
            Release.starts_at > now(),
        )
        .values(state="held")
    )


def pause_restored(session: Session) -> None:
    """Pause unfinished releases of another physical database: this one is a restored copy."""
    here = identity(session.connection())
    unfinished = select(Release.id).where(
        Release.finished_at.is_(None), Release.database_identity != here
    )
    for release_id in session.scalars(unfinished):
        pause(
            session,
            release_id,
            "This database is a copy of the one that sent this release, and may not know who "
            "has it already. Resume only if you are sure.",
        )


def _running() -> list[int]:
    with read_transaction() as session:
        return list(
            session.scalars(
                select(Release.id).where(
                    Release.finished_at.is_(None),
                    Release.frozen_at.is_not(None),
                    Release.state.in_(("sending", "stopping")),
                )
            )
        )


def _wake_where_needed(settings: Settings) -> None:
    with read_transaction() as session:
        releases = release_is_due(session.connection()) or releases_waiting(session.connection())
        letters = messages_are_waiting(session)
    if releases:
        wake(settings.redis_url, "releases")
    if letters:
        wake(settings.redis_url, "letters")


def _in_one_transaction(chore: Callable[[Session], object]) -> None:
    with transaction() as session:
        chore(session)
