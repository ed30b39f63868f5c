"""Acknowledgements: one transaction records what became of the messages of all connections.

The transaction also renews the leases of their batches. Where only positions change, hand-written
SQL writes them (`move_on`); everything else goes through SQLAlchemy (`write`).
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial

from sqlalchemy import Connection, select, update
from sqlalchemy.orm import Session
from sqlalchemy.sql.dml import ReturningUpdate

from mailer.config import Settings
from mailer.domain.releases.lifecycle import finish_if_complete
from mailer.fanout.batches import Claim, renew
from mailer.fanout.database_thread import DatabaseThread
from mailer.fanout.outcomes import Progress, write_progress
from mailer.fanout.replies import RefusalStreak
from mailer.storage.database import NOW, database_now, driver, json_rows, pg_array
from mailer.storage.models import Batch, Release

GO_ON = "sending"
FENCED = "fenced"

_RENEWALS_A_LEASE = 4
_ENOUGH = 0.8
"""The share of connections with a batch that is worth a commit: it costs the same for one
acknowledgement as for many, and meanwhile the relay has messages of the other connections."""
_GATHER_SECONDS = 0.002
_GATHER_AT_MOST_SECONDS = 0.02
_BUSY = 0.75
"""CPU share above which waiting for more acknowledgements costs nothing: the thread has other
work."""

# This runs once for every few messages, so each database gets the statement that it runs fastest.
# The state is a subquery: a plan that joined the releases might begin with all batches of each.
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
# Apart from the statement above, or SQLite would rewrite the index of open batches every time.
CLOSE_IN_SQLITE = """
    UPDATE batches
    SET position = ?3, lease_until = NULL, open = 0
    WHERE id = ?1
        AND epoch = ?2
        AND (SELECT state FROM releases WHERE id = batches.release_id) = 'sending'
    """


class AcknowledgementWriter:
    """Groups the acknowledgements of all connections into one transaction after another."""

    def __init__(self, database: DatabaseThread, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._waiting: list[tuple[Progress, asyncio.Future[str]]] = []
        self._arrived = asyncio.Event()
        self._gathering: asyncio.TimerHandle | None = None
        self._leased: dict[Claim, float] = {}
        """The leases of this process, and when each was last claimed or renewed."""
        self._streaks: dict[int, RefusalStreak] = {}

    def add_lease(self, claim: Claim, since: float) -> None:
        """Keep a lease alive from now on; `since` is the monotonic time before its claim."""
        self._leased[claim] = since

    def lease_is_safe(self, claim: Claim) -> bool:
        """Tell whether more than half of a lease is left, so that a dot may leave."""
        asked = self._leased.get(claim)
        return asked is not None and time.monotonic() - asked < self._settings.lease_seconds / 2

    def has_lease(self, claim: Claim) -> bool:
        """Tell whether a lease is still ours, as far as this process knows."""
        return claim in self._leased

    def record(self, progress: Progress) -> asyncio.Future[str]:
        """Write a progress with the next commit.

        The future gives the release's state once it is durable; anything but GO_ON means
        that no further dot may leave for this batch, and FENCED that its lease is lost.
        """
        self._count_refusals(progress)
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
        """Renew every lease of this process, also while the relay is slow to reply."""
        while True:
            await asyncio.sleep(self._settings.lease_seconds / _RENEWALS_A_LEASE)
            claims = list(self._leased)
            asked = time.monotonic()
            alive = await self._database.run_in_transaction(
                partial(renew, claims=claims, lease_seconds=self._settings.lease_seconds)
            )
            # A lease that was handed back during the renewal is not added again.
            self._leased.update(dict.fromkeys(self._leased.keys() & alive, asked))
            for claim in set(claims).difference(alive):
                self._leased.pop(claim, None)

    def _gather(self, began: float) -> None:
        """Wait briefly for more acknowledgements, longer while this thread is busy anyway."""
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
        """Write what arrived together, past the ORM if it is positions alone."""
        lease = self._settings.lease_seconds
        if self._only_positions(together):
            moving = partial(move_on, together=together, lease_seconds=lease)
            if await self._database.run_statement(moving):
                return [GO_ON] * len(together)
        work = partial(write, together=together, settings=self._settings)
        return await self._database.run_in_transaction(work)

    def _only_positions(self, together: Sequence[Progress]) -> bool:
        """Tell whether there are only positions to write, and no release can end with them."""
        if not all(progress.plain and not progress.hand_back for progress in together):
            return False
        finished = {progress.claim for progress in together if progress.finished}
        # A release of which this process still has another batch cannot end.
        staying = {claim.release_id for claim in self._leased.keys() - finished}
        return {claim.release_id for claim in finished} <= staying

    def _note(self, progress: Progress, state: str, asked: float) -> None:
        if progress.ends or state == FENCED:
            self._leased.pop(progress.claim, None)
        else:
            self._leased[progress.claim] = asked

    def _count_refusals(self, progress: Progress) -> None:
        """Count equal refusals in a row; a long streak pauses the release, and is undone."""
        if progress.accepted:
            self._streaks.pop(progress.claim.release_id, None)
        for finding in progress.findings:
            streak = self._streaks.setdefault(progress.claim.release_id, RefusalStreak())
            if streak.add(finding.subscription_id, finding.address, finding.verdict):
                progress.pause_because = streak.sentence
                progress.refusals_to_undo += streak.refused
                streak.clear()


def move_on(connection: Connection, together: Sequence[Progress], lease_seconds: int) -> bool:
    """Advance the positions of batches and renew their leases; close batches that are finished.

    Returns False if any did not advance, because its lease is lost or its release is not sending;
    then all of them have still to be written by `write`.
    """
    lease = lease_seconds * 1000
    if connection.dialect.name == "postgresql":
        columns = map(pg_array, zip(*map(_row, together), strict=True))
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


def write(connection: Connection, together: Sequence[Progress], settings: Settings) -> list[str]:
    """Write several progresses, and return for each the state that its release is in.

    FENCED stands for a batch whose lease is lost; nothing of its progress is written.
    """
    states = _advance(connection, together, settings.lease_seconds)
    ours = [progress for progress in together if _key(progress.claim) in states]
    to_write = [progress for progress in ours if not progress.plain]
    # The process that took over a lost lease may have finished the batch, but not the release.
    ending = {one.claim.release_id for one in together if one.ends or _key(one.claim) not in states}
    if to_write or ending:
        with Session(connection) as session:
            for progress in to_write:
                write_progress(session, progress, settings.retry_seconds)
            for release_id in sorted(ending):
                finish_if_complete(session, release_id)
            states = _states(session, ours)
    return [states.get(_key(progress.claim), FENCED) for progress in together]


def _advance(
    connection: Connection, together: Sequence[Progress], lease_seconds: int
) -> Mapping[tuple[int, int], str]:
    """Advance the positions of all batches whose leases are ours, fenced by their epochs."""
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
    rows = json_rows(dialect_name, "id", "epoch", "position", "open", "lease", "rest")
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


def _states(session: Session, ours: Sequence[Progress]) -> Mapping[tuple[int, int], str]:
    """Read the states once more: this transaction may have paused or finished a release."""
    release_ids = {progress.claim.release_id for progress in ours}
    rows = session.execute(select(Release.id, Release.state).where(Release.id.in_(release_ids)))
    states = {row.id: row.state for row in rows}
    return {_key(progress.claim): states[progress.claim.release_id] for progress in ours}


def _key(claim: Claim) -> tuple[int, int]:
    return claim.batch_id, claim.epoch


def _row(progress: Progress) -> tuple[int, int, int]:
    return progress.claim.batch_id, progress.claim.epoch, progress.position
