"""The committer: writes down what the connections of one process learned, together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from sqlalchemy import null, select, update
from sqlalchemy.orm import Session
from sqlalchemy.sql.dml import ReturningUpdate

from mailer.config import Settings
from mailer.domain.releases import pause, settle
from mailer.fanout.batches import Claim
from mailer.fanout.ledger import Ledger
from mailer.fanout.outcomes import Finding, forgive, note_uncertain, write_findings
from mailer.fanout.verdicts import Run
from mailer.storage.database import database_now
from mailer.storage.models import Batch, Release

GO_ON = "sending"
FENCED = "fenced"
_RENEWALS_A_LEASE = 4


@dataclass(slots=True)
class Progress:
    """How far a claimed batch has come, and what was found on the way."""

    claim: Claim
    position: int
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


class Committer:
    """Groups the acknowledgements of all connections into one transaction after another."""

    def __init__(self, ledger: Ledger, settings: Settings) -> None:
        self._ledger = ledger
        self._settings = settings
        self._waiting: list[tuple[Progress, asyncio.Future[str]]] = []
        self._arrived = asyncio.Event()
        self._held: dict[int, Claim] = {}
        self._renewed: dict[int, float] = {}
        self._runs: dict[int, Run] = {}

    def hold(self, claim: Claim, since: float) -> None:
        """Keep a claimed lease alive from now on; `since` is when it was asked for."""
        self._held[claim.batch_id] = claim
        self._renewed[claim.batch_id] = since

    def safe(self, claim: Claim) -> bool:
        """Tell whether so much of the lease is left that a dot may leave."""
        renewed = self._renewed.get(claim.batch_id)
        return renewed is not None and time.monotonic() - renewed < self._settings.lease_seconds / 2

    def record(self, progress: Progress) -> asyncio.Future[str]:
        """Promise to write a progress down.

        The future gives the release's state once it is durable; anything but GO_ON means
        that no further dot may leave for this batch, and FENCED that it is no longer ours.
        """
        self._count_run(progress)
        durable: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting.append((progress, durable))
        self._arrived.set()
        return durable

    async def run(self) -> None:
        """Commit what has arrived, for as long as the process drains."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            together, self._waiting = self._waiting, []
            asked = time.monotonic()
            progresses = [progress for progress, _ in together]
            states = await self._ledger.transact(
                partial(write, together=progresses, settings=self._settings)
            )
            for (progress, durable), state in zip(together, states, strict=True):
                self._note(progress, state, asked)
                if not durable.cancelled():
                    durable.set_result(state)

    async def keep_leases(self) -> None:
        """Renew every lease that is held, also while a relay takes its time."""
        while True:
            await asyncio.sleep(self._settings.lease_seconds / _RENEWALS_A_LEASE)
            held = list(self._held.values())
            asked = time.monotonic()
            alive = await self._ledger.transact(
                partial(renew, claims=held, lease_seconds=self._settings.lease_seconds)
            )
            for claim in held:
                if claim.batch_id not in alive:
                    self._drop(claim)
                elif claim.batch_id in self._held:
                    self._renewed[claim.batch_id] = asked

    def _note(self, progress: Progress, state: str, asked: float) -> None:
        if progress.finished or progress.hand_back or state == FENCED:
            self._drop(progress.claim)
        else:
            self._renewed[progress.claim.batch_id] = asked

    def _drop(self, claim: Claim) -> None:
        self._held.pop(claim.batch_id, None)
        self._renewed.pop(claim.batch_id, None)

    def _count_run(self, progress: Progress) -> None:
        run = self._runs.setdefault(progress.claim.release_id, Run())
        for finding in progress.findings:
            if run.add(finding.subscription_id, finding.address, finding.verdict):
                progress.pause_because = run.sentence
                progress.forgiven += run.refused
                run.clear()


def write(session: Session, together: Sequence[Progress], settings: Settings) -> list[str]:
    """Write several progresses in one transaction; returns a state for each, in order."""
    ours = [_advance(session, progress, settings.lease_seconds) for progress in together]
    settled: set[int] = set()
    for progress, held in zip(together, ours, strict=True):
        if not held:
            continue
        claim = progress.claim
        write_findings(session, claim, progress.findings, settings.retry_seconds)
        note_uncertain(session, claim.release_id, progress.uncertain, "unanswered")
        if progress.pause_because is not None:
            pause(session, claim.release_id, progress.pause_because)
        if forgiven := _not_to_blame(session, progress):
            forgive(session, claim.release_id, forgiven)
        if progress.finished or progress.hand_back:
            settled.add(claim.release_id)
    for release_id in sorted(settled):
        settle(session, release_id)
    states = _states(session, {progress.claim.release_id for progress in together})
    return [
        states[progress.claim.release_id] if held else FENCED
        for progress, held in zip(together, ours, strict=True)
    ]


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


def renew(session: Session, claims: Sequence[Claim], lease_seconds: int) -> set[int]:
    """Prolong leases by the database's clock; returns the ids of those that are still ours.

    A batch that was handed back in the meantime has no lease, and is not given one again.
    """
    until = database_now() + lease_seconds * 1000
    return {
        claim.batch_id
        for claim in claims
        if session.scalar(
            _ours(claim).where(Batch.lease_until.is_not(None), Batch.open).values(lease_until=until)
        )
    }


def _advance(session: Session, progress: Progress, lease_seconds: int) -> bool:
    """Move a batch's position, fenced by its epoch; False if it is no longer ours."""
    keeps = not (progress.finished or progress.hand_back)
    statement = _ours(progress.claim).where(Batch.position <= progress.position)
    values: dict[str, object] = {
        "position": progress.position,
        "open": not progress.finished,
        "lease_until": database_now() + lease_seconds * 1000 if keeps else null(),
    }
    if progress.rest_seconds:
        values["not_before"] = database_now() + progress.rest_seconds * 1000
    return session.scalar(statement.values(**values)) is not None


def _ours(claim: Claim) -> ReturningUpdate[int]:
    return (
        update(Batch)
        .where(Batch.id == claim.batch_id, Batch.epoch == claim.epoch)
        .returning(Batch.id)
        .execution_options(synchronize_session=False)
    )


def _states(session: Session, release_ids: set[int]) -> dict[int, str]:
    rows = session.execute(select(Release.id, Release.state).where(Release.id.in_(release_ids)))
    return {row.id: row.state for row in rows}
