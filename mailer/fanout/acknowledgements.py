"""Acknowledgements: what the connections of a process learned, written in one transaction."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial

from sqlalchemy import Connection, bindparam, select, update
from sqlalchemy.orm import Session
from sqlalchemy.sql.dml import ReturningUpdate

from mailer.config import Settings
from mailer.domain.releases.lifecycle import pause, settle
from mailer.fanout.batches import Claim
from mailer.fanout.database_thread import Ledger
from mailer.fanout.outcomes import Finding, forgive, note_uncertain, write_findings
from mailer.fanout.replies import Run
from mailer.storage.database import NOW, bigint_array, database_now, driver, given
from mailer.storage.models import Batch, Release

# JOINED: """Positions: how far each batch has come, moved on by one transaction while all goes well."""
# JOINED: """The committer: one transaction for what all connections of a process learned, and the leases."""

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


# This runs once for every handful of messages, so each database gets what it does fastest. The
# state is asked apart: a plan that joined the releases might begin with all batches of each.
MOVE_ON = {
    "postgresql": f"""
        UPDATE batches
        SET position = given.position, open = given.position < size, lease_until =
            CASE WHEN given.position < size THEN {NOW["postgresql"]} + %s END
        FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[]) AS given (id, epoch, position)
        WHERE batches.id = given.id
            AND batches.epoch = given.epoch
            AND batches.position <= given.position
            AND (SELECT state FROM releases WHERE id = batches.release_id) = 'sending'
        """,  # noqa: S608 - made of constants
    "sqlite": f"""
        UPDATE batches
        SET position = ?3, lease_until = {NOW["sqlite"]} + ?4
        WHERE id = ?1
            AND epoch = ?2
            AND position <= ?3
            AND (SELECT state FROM releases WHERE id = batches.release_id) = 'sending'
        """,  # noqa: S608 - made of constants
}
# A statement of its own: SQLite would write the index of open batches anew for every position.
CLOSE_IN_SQLITE = """
    UPDATE batches
    SET position = ?3, lease_until = NULL, open = 0
    WHERE id = ?1
        AND epoch = ?2
        AND (SELECT state FROM releases WHERE id = batches.release_id) = 'sending'
    """


def move_on(connection: Connection, together: Sequence[Progress], lease_seconds: int) -> bool:
    """Move the positions of batches and prolong their leases; close those that are at their end.

    Tells whether all of them moved. If not, because a batch is no longer ours or its release is
    not to go on, every progress has still to be written.
    """
    lease = lease_seconds * 1000
    if connection.dialect.name == "postgresql":
        columns = map(bigint_array, zip(*map(_row, together), strict=True))
        moved = driver(connection).execute(MOVE_ON["postgresql"], (lease, *columns)).rowcount
    else:
        sqlite = driver(connection)
        sqlite.execute("BEGIN IMMEDIATE")
        on = [(*_row(one), lease) for one in together if not one.finished]
        moved = sqlite.executemany(MOVE_ON["sqlite"], on).rowcount if on else 0
        for one in together:
            if one.finished:
                moved += sqlite.execute(CLOSE_IN_SQLITE, _row(one)).rowcount
        sqlite.execute("COMMIT")
    return bool(moved == len(together))


def _row(progress: Progress) -> tuple[int, int, int]:
    return progress.claim.batch_id, progress.claim.epoch, progress.position


_RENEWALS_A_LEASE = 4
_ENOUGH = 0.8
"""Of the connections that carry something: a commit costs the same for one as for many, and while
it is written, the relay still has the messages of the others."""
_GATHER_SECONDS = 0.002
_GATHER_AT_MOST_SECONDS = 0.02
_BUSY = 0.75
"""Of one processor: whoever is that busy with other connections loses nothing by gathering on."""


class Committer:
    """Groups the acknowledgements of all connections into one transaction after another."""

    def __init__(self, ledger: Ledger, settings: Settings) -> None:
        self._ledger = ledger
        self._settings = settings
        self._waiting: list[tuple[Progress, asyncio.Future[str]]] = []
        self._arrived = asyncio.Event()
        self._gathering: asyncio.TimerHandle | None = None
        self._leased: dict[Claim, float] = {}
        """When each lease that is held was last asked for."""
        self._runs: dict[int, Run] = {}

    def hold(self, claim: Claim, since: float) -> None:
        """Keep a claimed lease alive from now on; `since` is when it was asked for."""
        self._leased[claim] = since

    def safe(self, claim: Claim) -> bool:
        """Tell whether so much of the lease is left that a dot may leave."""
        asked = self._leased.get(claim)
        return asked is not None and time.monotonic() - asked < self._settings.lease_seconds / 2

    def holds(self, claim: Claim) -> bool:
        """Tell whether a claim is ours, as far as we have heard."""
        return claim in self._leased

    def record(self, progress: Progress) -> asyncio.Future[str]:
        """Promise to write a progress down.

        The future gives the release's state once it is durable; anything but GO_ON means
        that no further dot may leave for this batch, and FENCED that it is no longer ours.
        """
        self._count_run(progress)
        durable: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting.append((progress, durable))
        if len(self._waiting) >= len(self._leased) * _ENOUGH:
            self._arrived.set()
        elif len(self._waiting) == 1:
            self._gather(time.monotonic())
        return durable

    async def run(self) -> None:
        """Commit what has arrived, for as long as the process drains."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            if self._gathering is not None:
                self._gathering.cancel()
                self._gathering = None
            together, self._waiting = self._waiting, []
            if not together:
                continue
            asked = time.monotonic()
            states = await self._write([progress for progress, _ in together])
            for (progress, durable), state in zip(together, states, strict=True):
                self._note(progress, state, asked)
                if not durable.cancelled():
                    durable.set_result(state)

    async def keep_leases(self) -> None:
        """Renew every lease that is held, also while a relay takes its time."""
        while True:
            await asyncio.sleep(self._settings.lease_seconds / _RENEWALS_A_LEASE)
            claims = list(self._leased)
            asked = time.monotonic()
            alive = await self._ledger.write(
                partial(renew, claims=claims, lease_seconds=self._settings.lease_seconds)
            )
            # What was handed back in the meantime is held no longer.
            self._leased.update(dict.fromkeys(self._leased.keys() & alive, asked))
            for claim in set(claims).difference(alive):
                self._leased.pop(claim, None)

    def _gather(self, began: float) -> None:
        """Wait a little for others; longer while this thread has enough to do as it is."""
        moment, worked = time.monotonic(), time.thread_time()

        def look() -> None:
            now = time.monotonic()
            busy = time.thread_time() - worked >= _BUSY * (now - moment)
            if busy and now - began < _GATHER_AT_MOST_SECONDS:
                self._gather(began)
            else:
                self._arrived.set()

        self._gathering = asyncio.get_running_loop().call_later(_GATHER_SECONDS, look)

    async def _write(self, together: Sequence[Progress]) -> Sequence[str]:
        """Write what arrived together; positions alone are past the ORM."""
        lease = self._settings.lease_seconds
        if self._go_on(together):
            moving = partial(move_on, together=together, lease_seconds=lease)
            if await self._ledger.state(moving):
                return [GO_ON] * len(together)
        writing = partial(write, together=together, settings=self._settings)
        return await self._ledger.write(writing)

    def _go_on(self, together: Sequence[Progress]) -> bool:
        """Tell whether all of it is positions, and no release may be done with it."""
        if not all(progress.plain and not progress.hand_back for progress in together):
            return False
        finished = {progress.claim for progress in together if progress.finished}
        # While another batch of a release is in our hands, that release is not done.
        staying = {claim.release_id for claim in self._leased.keys() - finished}
        return {claim.release_id for claim in finished} <= staying

    def _note(self, progress: Progress, state: str, asked: float) -> None:
        if progress.ends or state == FENCED:
            self._leased.pop(progress.claim, None)
        else:
            self._leased[progress.claim] = asked

    def _count_run(self, progress: Progress) -> None:
        """Count equal refusals, and let a run of them pause the release and blame nobody."""
        if progress.accepted:
            self._runs.pop(progress.claim.release_id, None)
        for finding in progress.findings:
            run = self._runs.setdefault(progress.claim.release_id, Run())
            if run.add(finding.subscription_id, finding.address, finding.verdict):
                progress.pause_because = run.sentence
                progress.forgiven += run.refused
                run.clear()
