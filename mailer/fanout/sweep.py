"""The sweep: finds lost and overdue work in the rows; any number of processes may run it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial

from sqlalchemy import bindparam, select, update
from sqlalchemy.exc import DBAPIError, InternalError, OperationalError
from sqlalchemy.orm import Session

from mailer.config import Settings
from mailer.domain import restores
from mailer.domain.followers.retention import apply_retention
from mailer.domain.followers.suppression import suppress_dead_mailboxes
from mailer.domain.releases.lifecycle import finish_if_complete, pause
from mailer.fanout import alerts
from mailer.fanout.answers import backoff
from mailer.fanout.batches import releases_waiting
from mailer.fanout.freeze import release_is_due
from mailer.fanout.outbox import free_lost_messages, messages_are_waiting
from mailer.fanout.outcomes import note_uncertain, retry_due
from mailer.storage.database import read_transaction, transaction
from mailer.storage.leases import is_lost
from mailer.storage.models import Batch, BatchMembers, Release
from mailer.storage.queues import wake
from mailer.storage.types import now

_LOSSES = 3
# InternalError: PostgreSQL ended the transaction while this host was frozen.
_AWAY = (OperationalError, InternalError)
_HOLDING = (
    update(Release)
    .where(
        Release.finished_at.is_(None),
        Release.state == "scheduled",
        Release.published_at <= bindparam("now"),
        Release.starts_at > bindparam("now"),
    )
    .values(state="held")
    .returning(Release.id)
)
_LOCK_NOT_AVAILABLE, _QUERY_CANCELED = "55P03", "57014"

log = logging.getLogger(__name__)


def sweep(settings: Settings, *, thorough: bool = False) -> bool:
    """Run every chore once; returns False if the database is away, and the next one should be soon.

    A `thorough` sweep also suppresses dead mailboxes, and deletes what retention no longer keeps.
    """
    try:
        _try("compare the database with its witnesses", partial(restores.watch, settings))
        with read_transaction() as session:
            lost, running = _lost_batches(session), _running(session)
        for batch_id in lost:
            _attempt(f"free batch {batch_id}", partial(free_lost_batch, batch_id=batch_id))
        _attempt("free lost outbox messages", free_lost_messages)
        _attempt("hold scheduled releases", hold_due)
        for release_id in running:
            going_on = partial(_go_on, release_id=release_id, connections=settings.connections)
            _attempt(f"go on with release {release_id}", going_on)
        waiting = _wake_where_needed(settings)
        if thorough:
            _try("suppress dead mailboxes", suppress_dead_mailboxes)
            _try("delete what is kept no longer", partial(apply_retention, settings))
            _try("delete old notes", partial(restores.forget, settings))
        _try("tell the operator", partial(alerts.tell, settings, waiting))
    except _AWAY as error:
        log.warning("The database does not answer: %s. Trying on.", type(error).__name__)
        return False
    return True


def free_lost_batch(session: Session, batch_id: int) -> None:
    """Free a batch whose lease has run out, and list one of its recipients as uncertain.

    Only the recipient at a batch's position may have the message without a record of it: the
    dot of the next message does not leave before that record is durable. If a third
    process ends at the same recipient, the release is paused.
    """
    lost = select(Batch).where(Batch.id == batch_id, Batch.open, is_lost(Batch))
    batch = session.scalar(lost.with_for_update(skip_locked=True))
    if batch is None:
        return
    log.warning("The lease of batch %d ran out.", batch.id)
    recipient = session.get_one(BatchMembers, batch.id).ids[batch.position]
    note_uncertain(session, batch.release_id, {recipient: batch.dated_at}, "lost lease")
    batch.losses = batch.losses + 1 if batch.lost_at == batch.position else 1
    batch.lost_at = batch.position
    batch.epoch += 1
    batch.lease_until = None
    if batch.losses >= _LOSSES:
        pause(
            session,
            batch.release_id,
            "Three processes in a row ended while they were sending to the same recipient. The "
            "log says how. Mend that, then resume the release.",
        )
        batch.losses = 0


def hold_due(session: Session) -> None:
    """Put scheduled releases on hold whose moment of publication has come."""
    for release_id in session.scalars(_HOLDING, {"now": now()}):
        log.info("Release %d is held.", release_id)


def _lost_batches(session: Session) -> Sequence[int]:
    return session.scalars(select(Batch.id).where(Batch.open, is_lost(Batch))).all()


def _running(session: Session) -> Sequence[int]:
    return session.scalars(
        select(Release.id).where(
            Release.finished_at.is_(None),
            Release.frozen_at.is_not(None),
            Release.state.in_(("sending", "stopping")),
        )
    ).all()


def _go_on(session: Session, release_id: int, connections: int) -> None:
    """Put recipients who are due into batches again, or finish a release that has none left."""
    retry_due(session, release_id, connections)
    finish_if_complete(session, release_id)


def _wake_where_needed(settings: Settings) -> Sequence[str]:
    """Wake workers where something waits, and return the queues."""
    with read_transaction() as session:
        connection = session.connection()
        relay = backoff.read(connection)
        releases = release_is_due(connection) or (
            relay.probe_is_due if relay.lasts else releases_waiting(connection)
        )
        letters = messages_are_waiting(session) and (relay.probe_is_due or not relay.lasts)
    waiting = [name for name, waits in (("releases", releases), ("letters", letters)) if waits]
    for name in waiting:
        wake(settings.redis_url, name)
    return waiting


def _attempt(name: str, chore: Callable[[Session], object]) -> None:
    """Run a chore in a transaction of its own; one that fails does not stop the others."""

    def run() -> None:
        with transaction() as session:
            chore(session)

    _try(name, run)


def _try(name: str, chore: Callable[[], object]) -> None:
    try:
        chore()
    except Exception as error:
        if isinstance(error, _AWAY) and not _is_about_the_statement(error):
            raise
        log.exception("The sweep could not %s; it goes on with the rest.", name)


def _is_about_the_statement(error: DBAPIError) -> bool:
    """Tell whether the database has answered, as when a lock is not to be had in time."""
    return getattr(error.orig, "sqlstate", None) in (_LOCK_NOT_AVAILABLE, _QUERY_CANCELED)
