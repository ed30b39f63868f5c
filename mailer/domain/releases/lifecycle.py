"""The life of a release: scheduled or held, stopped or resumed, paused, finished."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import (
    BindParameter,
    bindparam,
    case,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.orm import Session

from mailer.config import Settings
from mailer.domain.outbox import queue_notice
from mailer.errors import Conflict, NotFound
from mailer.storage.database import read_transaction, transaction
from mailer.storage.models import Batch, ComposedLetter, Outcome, PastOutcome, Publisher, Release
from mailer.storage.queues import wake
from mailer.storage.sql import database_now
from mailer.storage.types import now

LARGEST_ID = 2**63 - 1
"""What the columns of ids can hold; drivers would raise at a larger one."""
_THIS: BindParameter[int] = bindparam("release_id")
_LOCKED = (
    select(Release)
    .where(Release.id == _THIS)
    .with_for_update(key_share=True)
    .execution_options(populate_existing=True)
)
_LEASED = select(
    exists().where(Batch.release_id == _THIS, Batch.open, Batch.lease_until.is_not(None))
)
_UNFINISHED = select(
    or_(
        exists().where(Batch.release_id == _THIS, Batch.open),
        exists().where(Outcome.release_id == _THIS, Outcome.kind == "deferred"),
    )
)

log = logging.getLogger(__name__)


def stop(publisher: Publisher, release_id: int) -> Release:
    """Cancel a release that has not started, or end a running fan-out. Idempotent.

    Raises NotFound, and Conflict for a release that is already done.
    """
    with transaction() as session:
        release = locked_for(session, publisher, release_id)
        if release.state == "done":
            raise Conflict("This release is done: everyone who should have it has it.")
        if release.state != "stopped":
            release.state = "stopping"
            finish_if_complete(session, release.id)
    return release


def resume(settings: Settings, publisher: Publisher, release_id: int) -> Release:
    """Send a held release now, or go on with a paused one; one that is sending is left alone.

    Raises NotFound, and Conflict for a release in any other state.
    """
    with transaction() as session:
        release = locked_for(session, publisher, release_id)
        if release.state == "held":
            release.state, release.starts_at = "sending", now()
        elif release.state == "paused":
            release.state, release.paused_because = _state_after_pause(release), None
            release.resumed_at = session.scalar(select(database_now()))
            release.not_before, release.rests = None, 0
            _retry_at_once(session, release_id)
        elif release.state != "sending":
            raise Conflict(f"A release that is {release.state} cannot be resumed.")
    log.info("Release %d is resumed.", release_id)
    wake(settings.redis_url, "releases")
    return release


def resume_all(settings: Settings) -> Sequence[int]:
    """Go on with every paused release of every press room; returns their ids."""
    with read_transaction() as session:
        paused = session.execute(
            select(Release.id, Publisher)
            .join(Publisher, Publisher.id == Release.publisher_id)
            .where(Release.state == "paused")
            .order_by(Release.id)
        ).all()
    for release_id, publisher in paused:
        resume(settings, publisher, release_id)
    return [release_id for release_id, _ in paused]


def paused_releases() -> Sequence[tuple[Publisher, Release]]:
    """Return every paused release with its press room, oldest first."""
    with read_transaction() as session:
        rows = session.execute(
            select(Publisher, Release)
            .join(Release, Release.publisher_id == Publisher.id)
            .where(Release.state == "paused")
            .order_by(Release.id)
        )
        return [(publisher, release) for publisher, release in rows]


def retry(settings: Settings, publisher: Publisher, release_id: int, kind: str, reason: str) -> int:
    """Reopen a release for recipients who were refused or skipped so; returns how many.

    What became of them before stays in their history. Raises NotFound, and Conflict for a release
    that is stopped, or that a newer version has replaced.
    """
    with transaction() as session:
        release = locked_for(session, publisher, release_id)
        if session.scalar(select(exists().where(Release.replaces_id == release_id))):
            raise Conflict(f"Release {release_id} has a newer version: retry that one.")
        if release.state not in ("sending", "paused", "done"):
            raise Conflict(f"A release that is {release.state} cannot be sent to anybody again.")
        closed = (Outcome.release_id == release_id, Outcome.kind == kind, Outcome.reason == reason)
        columns = (Outcome.release_id, Outcome.subscription_id, Outcome.kind, Outcome.reason)
        names = [*(column.key for column in columns), "at"]
        session.execute(
            insert(PastOutcome).from_select(names, select(*columns, Outcome.at).where(*closed))
        )
        number = session.scalars(select(func.count()).where(*closed)).one()
        session.execute(
            update(Outcome)
            .where(*closed)
            .values(
                kind="deferred",
                at=now(),
                attempts=0,
                # A recipient with two unanswered dots is sent the message once more.
                unanswered=case((Outcome.unanswered > 0, 1), else_=0),
                doubted_at=None,
                marked=False,
                next_at=database_now(),
                batch_id=None,
            )
        )
        if number and release.state == "done":
            release.state, release.finished_at = "sending", None
    wake(settings.redis_url, "releases")
    return number


def find(publisher: Publisher, release_id: int) -> Release:
    """Return a press room's release; raises NotFound."""
    with read_transaction() as session:
        return by_id(session, publisher, release_id)


def successor(release: Release) -> int | None:
    """Return the id of the version that replaces a release, None if it is the newest."""
    with read_transaction() as session:
        return session.scalar(select(Release.id).where(Release.replaces_id == release.id))


def publisher_of(release_id: int) -> Publisher:
    """Return the press room that a release belongs to; raises NotFound."""
    with read_transaction() as session:
        release = _get(session, release_id)
        if release is None:
            raise NotFound(f"There is no release {release_id}.")
        return session.get_one(Publisher, release.publisher_id)


def by_id(session: Session, publisher: Publisher, release_id: int) -> Release:
    """Return a press room's release; raises NotFound, also for another press room's release."""
    release = _get(session, release_id)
    if release is None or release.publisher_id != publisher.id:
        raise NotFound(f"There is no release {release_id} here.")
    return release


def locked(session: Session, release_id: int) -> Release:
    """Lock a release's row until the commit, and return it as it is now.

    FOR NO KEY UPDATE allows the KEY SHARE lock that every outcome's foreign key takes: two
    processes that write outcomes and then finish a release would otherwise wait for each other.
    """
    return session.scalars(_LOCKED, {"release_id": release_id}).one()


def locked_for(session: Session, publisher: Publisher, release_id: int) -> Release:
    """Lock and return a press room's release; raises NotFound, also for another press room's."""
    by_id(session, publisher, release_id)
    return locked(session, release_id)


def pause(session: Session, release_id: int, because: str, begun_at: int | None = None) -> None:
    """Pause a scheduled, held or sending release until it is resumed, say why, and give notice.

    `begun_at` says when the work that found the reason began, in milliseconds by the database's
    clock: if the release was resumed later, the reason counts as mended, and nothing changes.
    """
    statement = update(Release).where(
        Release.id == release_id, Release.state.in_(("scheduled", "held", "sending"))
    )
    if begun_at is not None:
        statement = statement.where(func.coalesce(Release.resumed_at, 0) <= begun_at)
    paused = statement.values(state="paused", paused_because=because).returning(Release.id)
    if session.scalar(paused) is not None:
        log.warning("Release %d is paused: %s", release_id, because)
        queue_notice(session, release_id)


def initial_state(moment: datetime, published_at: datetime, starts_at: datetime) -> str:
    """Return the state at `moment` of a release that is not yet frozen, by its two times."""
    if published_at > moment:
        return "scheduled"
    return "held" if starts_at > moment else "sending"


def finish_if_complete(session: Session, release_id: int) -> None:
    """Finish a release if its work is complete; may be called at any moment.

    `sending` becomes `done` when every batch is closed and no recipient is deferred; `stopping`
    becomes `stopped` when no batch is leased any more.
    """
    release = locked(session, release_id)
    before = release.state
    if release.state == "stopping" and not session.scalar(_LEASED, {"release_id": release_id}):
        _skip_the_rest(session, release_id)
        release.state, release.finished_at = "stopped", now()
    elif (
        release.state == "sending"
        and release.frozen_at is not None
        and not session.scalar(_UNFINISHED, {"release_id": release_id})
    ):
        release.state, release.finished_at = "done", now()
    session.flush()
    if release.state != before:
        session.execute(delete(ComposedLetter).where(ComposedLetter.release_id == release_id))
        log.info("Release %d is %s.", release_id, release.state)


def _get(session: Session, release_id: int) -> Release | None:
    """Return a release, or None."""
    return session.get(Release, release_id) if 0 < release_id <= LARGEST_ID else None


def _skip_the_rest(session: Session, release_id: int) -> None:
    """Skip deferred recipients and close open batches, from which the receipt counts the rest."""
    session.execute(
        update(Outcome)
        .where(Outcome.release_id == release_id, Outcome.kind == "deferred")
        .values(kind="skipped", reason="stopped", next_at=None, at=now())
    )
    session.execute(
        update(Batch).where(Batch.release_id == release_id, Batch.open).values(open=False)
    )


def _retry_at_once(session: Session, release_id: int) -> None:
    """Make every deferred recipient due at once, and begin all counts at zero.

    Whose next refusal is believed keeps the hour until then. Unanswered dots go on counting: after
    the second one, the recipient probably has the message.
    """
    deferred = (Outcome.release_id == release_id, Outcome.kind == "deferred")
    session.execute(
        update(Outcome)
        .where(*deferred)
        .values(attempts=0, doubted_at=case((Outcome.marked, Outcome.doubted_at), else_=None))
    )
    session.execute(
        update(Outcome)
        .where(*deferred, ~Outcome.marked, Outcome.batch_id.is_(None))
        .values(next_at=database_now())
    )


def _state_after_pause(release: Release) -> str:
    if release.frozen_at is not None:
        return "sending"
    return initial_state(now(), release.published_at, release.starts_at)
