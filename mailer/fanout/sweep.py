"""The sweep: finds lost and overdue work in the rows, any number of times, from anywhere."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from sqlalchemy import select, update
from sqlalchemy.exc import InternalError, OperationalError
from sqlalchemy.orm import Session

from mailer.config import Settings
from mailer.domain.followers.retention import keep_no_longer
from mailer.domain.releases.lifecycle import pause, settle
from mailer.fanout.batches import releases_waiting
from mailer.fanout.freeze import release_is_due
from mailer.fanout.outbox_delivery import free_lost_letters, letters_are_waiting
from mailer.fanout.outcomes import expire, note_uncertain, retry_due
from mailer.storage.database import database_now, identity, reading, writing
from mailer.storage.models import Batch, BatchMembers, Release
from mailer.storage.queues import ring
from mailer.storage.types import now

log = logging.getLogger(__name__)


def sweep(settings: Settings, *, thorough: bool = False) -> None:
    """Go round once. A database that is away is no reason to stop going round.

    A `thorough` round also looks at everybody for who need not be remembered any more.
    """
    try:
        for chore in (pause_restored, free_lost_batches, free_lost_letters, hold_due, expire):
            _in_one_transaction(chore)
        for release_id in _running():
            _in_one_transaction(partial(retry_due, release_id=release_id))
            _in_one_transaction(partial(settle, release_id=release_id))
        _ring_where_needed(settings)
        if thorough:
            keep_no_longer(settings)
    # An InternalError is what is left of a transaction that stood still, as on a frozen host.
    except (OperationalError, InternalError) as error:
        log.warning("The database does not answer: %s. Trying on.", type(error).__name__)


def free_lost_batches(session: Session) -> None:
    """Take batches back whose lease ran out, and note who may get the message twice.

    The recipient at a batch's position is the only one who may have got it without our
    knowing: no further dot leaves before that one is written down.
    """
    lost = session.scalars(
        select(Batch)
        .where(Batch.open, Batch.lease_until < database_now())
        .with_for_update(skip_locked=True)
    ).all()
    for batch in lost:
        log.warning("The lease of batch %d ran out.", batch.id)
        next_one = session.get_one(BatchMembers, batch.id).ids[batch.position]
        note_uncertain(session, batch.release_id, [next_one], "lost lease")
        batch.epoch += 1
        batch.lease_until = None


def hold_due(session: Session) -> None:
    """Begin the hold of scheduled releases whose moment has come."""
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
    """Pause what a restored copy of the database believes to be unfinished."""
    here = identity(session.connection())
    unfinished = select(Release.id).where(Release.finished_at.is_(None), Release.kept_in != here)
    for release_id in session.scalars(unfinished):
        pause(
            session,
            release_id,
            "This database is a copy of the one that sent this release, and may not know who "
            "has it already. Resume only if you are sure.",
        )


def _running() -> list[int]:
    with reading() as session:
        return list(
            session.scalars(
                select(Release.id).where(
                    Release.finished_at.is_(None),
                    Release.frozen_at.is_not(None),
                    Release.state.in_(("sending", "stopping")),
                )
            )
        )


def _ring_where_needed(settings: Settings) -> None:
    with reading() as session:
        releases = release_is_due(session.connection()) or releases_waiting(session.connection())
        letters = letters_are_waiting(session)
    if releases:
        ring(settings.redis_url, "releases")
    if letters:
        ring(settings.redis_url, "letters")


def _in_one_transaction(chore: Callable[[Session], object]) -> None:
    with writing() as session:
        chore(session)
