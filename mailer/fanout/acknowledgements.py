"""Acknowledgements: what the connections of a process learned, written in one transaction."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from sqlalchemy import Connection, bindparam, select, update
from sqlalchemy.orm import Session
from sqlalchemy.sql.dml import ReturningUpdate

from mailer.config import Settings
from mailer.domain.releases import pause, settle
from mailer.fanout.batches import Claim
from mailer.fanout.outcomes import Finding, forgive, note_uncertain, write_findings
from mailer.storage.database import database_now, given
from mailer.storage.models import Batch, Release

GO_ON = "sending"
FENCED = "fenced"


@dataclass(slots=True)
class Progress:
    """How far a claimed batch has come, and what was found on the way."""

    claim: Claim
    position: int
    accepted: bool = False
    """Whether the relay has taken a message, of which there is nothing else to tell."""
    findings: Sequence[Finding] = ()
    uncertain: Sequence[int] = ()
    """Whose final dot was not answered, so that they may get the message twice."""
    hand_back: bool = False
    rest_seconds: int = 0
    """With `hand_back`: how long the batch is left alone."""
    pause_because: str | None = None
    forgiven: list[int] = field(default_factory=list)
    """With `pause_because`: who was refused only because something is wrong with us."""

    @property
    def finished(self) -> bool:
        """Whether every member has had its turn."""
        return self.position == len(self.claim.members)

    @property
    def ends(self) -> bool:
        """Whether the batch is in nobody's hands afterwards."""
        return self.hand_back or self.finished

    @property
    def plain(self) -> bool:
        """Whether there is nothing to write but the position."""
        return not (self.findings or self.uncertain or self.pause_because)


def write(connection: Connection, together: Sequence[Progress], settings: Settings) -> list[str]:
    """Write several progresses, and return for each the state that its release is in.

    FENCED stands for a batch that is no longer ours; nothing of it is written. Most have nothing
    to tell but a position, which is one statement past the ORM.
    """
    states = _advance(connection, together, settings.lease_seconds)
    ours = [progress for progress in together if _key(progress.claim) in states]
    telling = [progress for progress in ours if not progress.plain]
    # Whoever has taken one of ours over may have finished it, and left the rest to us.
    ending = {one.claim.release_id for one in together if one.ends or _key(one.claim) not in states}
    if telling or ending:
        with Session(connection) as session:
            for progress in telling:
                _write_down(session, progress, settings.retry_seconds)
            for release_id in sorted(ending):
                settle(session, release_id)
            states = _states(session, ours)
    return [states.get(_key(progress.claim), FENCED) for progress in together]


def renew(connection: Connection, claims: Sequence[Claim], lease_seconds: int) -> list[Claim]:
    """Prolong leases by the database's clock; returns those that are still ours.

    A batch that was handed back in the meantime has no lease, and is not given one again.
    """
    rows = [{"id": claim.batch_id, "epoch": claim.epoch} for claim in claims]
    statement = _renewing(connection.dialect.name)
    values = {"given": json.dumps(rows), "lease": lease_seconds * 1000}
    alive = {(row.id, row.epoch) for row in connection.execute(statement, values)}
    return [claim for claim in claims if _key(claim) in alive]


def _advance(
    connection: Connection, together: Sequence[Progress], lease_seconds: int
) -> Mapping[tuple[int, int], str]:
    """Move the positions of all batches that are still ours, fenced by their epochs."""
    rows = {
        _key(progress.claim): {
            "id": progress.claim.batch_id,
            "epoch": progress.claim.epoch,
            "position": progress.position,
            "open": int(not progress.finished),
            "lease": None if progress.ends else lease_seconds * 1000,
            "rest": progress.rest_seconds * 1000 or None,
        }
        for progress in together
    }
    values = {"given": json.dumps(list(rows.values()))}
    answers = connection.execute(_advancing(connection.dialect.name), values)
    return {(batch_id, epoch): state for batch_id, epoch, state in answers}


@lru_cache(maxsize=2)
def _advancing(dialect_name: str) -> ReturningUpdate[int, int, str]:
    """Build the statement that runs once for every handful of messages."""
    rows = given(dialect_name, "id", "epoch", "position", "open", "lease", "rest")
    return (
        update(Batch)
        .where(
            Batch.id == rows.c.id,
            Batch.epoch == rows.c.epoch,
            Batch.position <= rows.c.position,
        )
        .values(
            position=rows.c.position,
            open=rows.c.open == 1,
            lease_until=database_now() + rows.c.lease,
            not_before=database_now() + rows.c.rest,
        )
        .returning(
            Batch.id,
            Batch.epoch,
            select(Release.state).where(Release.id == Batch.release_id).scalar_subquery(),
        )
    )


@lru_cache(maxsize=2)
def _renewing(dialect_name: str) -> ReturningUpdate[int, int]:
    rows = given(dialect_name, "id", "epoch")
    return (
        update(Batch)
        .where(
            Batch.id == rows.c.id,
            Batch.epoch == rows.c.epoch,
            Batch.lease_until.is_not(None),
            Batch.open,
        )
        .values(lease_until=database_now() + bindparam("lease"))
        .returning(Batch.id, Batch.epoch)
        .execution_options(synchronize_session=False)
    )


def _write_down(session: Session, progress: Progress, retry_seconds: int) -> None:
    """Write what was found out about single recipients, and who is to blame for it."""
    claim = progress.claim
    write_findings(session, claim, progress.findings, retry_seconds)
    note_uncertain(session, claim.release_id, progress.uncertain, "unanswered")
    if progress.pause_because is not None:
        pause(session, claim.release_id, progress.pause_because, claim.claimed_at)
    if forgiven := _not_to_blame(session, progress):
        forgive(session, claim.release_id, forgiven)


def _not_to_blame(session: Session, progress: Progress) -> list[int]:
    """Return who was refused in a run, and who after it, before the pause was known."""
    refused = [
        finding.subscription_id
        for finding in progress.findings
        if finding.verdict.kind == "refused"
    ]
    if not refused:
        return progress.forgiven
    state = session.scalar(select(Release.state).where(Release.id == progress.claim.release_id))
    return [*progress.forgiven, *refused] if state == "paused" else progress.forgiven


def _states(session: Session, ours: Sequence[Progress]) -> Mapping[tuple[int, int], str]:
    """Read the states anew, since this very transaction may have paused or finished a release."""
    release_ids = {progress.claim.release_id for progress in ours}
    rows = session.execute(select(Release.id, Release.state).where(Release.id.in_(release_ids)))
    states = {row.id: row.state for row in rows}
    return {_key(progress.claim): states[progress.claim.release_id] for progress in ours}


def _key(claim: Claim) -> tuple[int, int]:
    return claim.batch_id, claim.epoch
