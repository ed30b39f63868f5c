"""Acknowledgements: one transaction records what became of the messages of all connections.

The transaction also renews the leases of their batches. What happens with most messages is written
by hand-written SQL alone (`move_on`), everything else in a transaction of SQLAlchemy (`write`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import inf
from types import MappingProxyType

from sqlalchemy import Connection, select
from sqlalchemy.orm import Session

from mailer.config import Settings
from mailer.domain.releases.lifecycle import finish_if_complete
from mailer.fanout.answers import backoff
from mailer.fanout.answers.pauses import draw_conclusions, tells_more
from mailer.fanout.answers.refusals import ReleaseAnswers
from mailer.fanout.answers.send_rate import SendRate
from mailer.fanout.database_thread import DatabaseThread
from mailer.fanout.delivery.leases import Leases
from mailer.fanout.outcomes import (
    Judged,
    Progress,
    believe,
    delete_accepted,
    mark,
    retry_due,
    write_progress,
)
from mailer.fanout.statements import CLOSE_IN_SQLITE, MOVE_ON, pg_array
from mailer.storage.database import driver
from mailer.storage.models import Release

log = logging.getLogger(__name__)

GO_ON = "sending"
FENCED = "fenced"

_ANSWER_SECONDS = 1.0
"""How often it is noted that the relay has accepted something."""
_ENOUGH = 0.8
"""The share of connections with a batch that is worth a commit: it costs the same for one
acknowledgement as for many, and meanwhile the relay has messages of the other connections."""
_GATHER_SECONDS = 0.002
_GATHER_AT_MOST_SECONDS = 0.02
_BUSY = 0.75
"""CPU share above which waiting for more acknowledgements costs nothing: the thread has other
work."""


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """What a commit returned: the state of a release, and when the commit was asked for."""

    state: str
    asked: float


class AcknowledgementWriter:
    """Groups the acknowledgements of all connections into one transaction after another."""

    def __init__(
        self, database: DatabaseThread, leases: Leases, send_rate: SendRate, settings: Settings
    ) -> None:
        self._database = database
        self.leases = leases
        self._send_rate = send_rate
        self._settings = settings
        self._waiting: list[tuple[Progress, asyncio.Future[Acknowledged]]] = []
        self._arrived = asyncio.Event()
        self._gathering: asyncio.TimerHandle | None = None
        self._answers: defaultdict[int, ReleaseAnswers] = defaultdict(ReleaseAnswers)
        self._answer_noted = -inf

    def answers(self, release_id: int) -> ReleaseAnswers:
        """Return what the relay answered to a release in this process."""
        return self._answers[release_id]

    def record(self, progress: Progress) -> asyncio.Future[Acknowledged]:
        """Write a progress with the next commit.

        The future gives the release's state once it is durable; anything but GO_ON means
        that no further dot may leave for this batch, and FENCED that its lease is lost.
        """
        durable: asyncio.Future[Acknowledged] = asyncio.get_running_loop().create_future()
        self._waiting.append((progress, durable))
        if len(self._waiting) >= len(self.leases) * _ENOUGH:
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
            states = await self._write([progress for progress, _ in together], asked)
            known = {state: Acknowledged(state, asked) for state in set(states)}
            for (progress, durable), state in zip(together, states, strict=True):
                if progress.ends or state == FENCED:
                    self.leases.end(progress.claim)
                else:
                    self.leases.note(progress.claim, asked)
                if not durable.cancelled():
                    durable.set_result(known[state])

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

    async def _write(self, together: Sequence[Progress], asked: float) -> Sequence[str]:
        """Write what arrived together, past SQLAlchemy if it says nothing of a release."""
        accepted = any(progress.accepted for progress in together)
        if accepted and asked - self._answer_noted >= _ANSWER_SECONDS:
            self._answer_noted = asked
            if (ended := await self._database.run_statement(backoff.note_answer)) is not None:
                log.warning("The relay accepts messages again: slowly at first.")
                self._send_rate.start_again(ended.rate)
                await self._retry_first(together)
        judged = self._judge(together)
        staying = self._staying(together, judged)
        if not judged and self._is_plain(together, staying):
            moving = partial(move_on, together=together, settings=self._settings)
            if await self._database.run_statement(moving):
                return [GO_ON] * len(together)
        work = partial(
            write, together=together, judged=judged, staying=staying, settings=self._settings
        )
        return await self._database.run_in_transaction(work)

    async def _retry_first(self, together: Sequence[Progress]) -> None:
        """Put recipients who are due before those never tried, without waiting for a sweep."""
        for release_id in {progress.claim.release_id for progress in together}:
            retrying = partial(
                retry_due, release_id=release_id, connections=self._settings.connections
            )
            await self._database.run_in_session(retrying)

    def _judge(self, together: Sequence[Progress]) -> Mapping[int, Judged]:
        """Return whose refusals are believed or marked from now on, by release."""
        judged: dict[int, Judged] = {}
        for release_id in {progress.claim.release_id for progress in together}:
            believed, marked = self.answers(release_id).judge()
            if believed or marked:
                judged[release_id] = Judged(believed, marked)
        return judged

    def _staying(
        self, together: Sequence[Progress], judged: Mapping[int, Judged]
    ) -> Collection[int | None]:
        """Return releases of which this process has another batch: they do not end with these."""
        ending = {progress.claim for progress in together if progress.ends}
        return self.leases.releases(without=ending) if ending or judged else ()

    @staticmethod
    def _is_plain(together: Sequence[Progress], staying: Collection[int | None]) -> bool:
        """Tell whether nothing says more of a release, and none can end with these."""
        if any(progress.hand_back or tells_more(progress) for progress in together):
            return False
        return all(one.claim.release_id in staying for one in together if one.finished)


def move_on(connection: Connection, together: Sequence[Progress], settings: Settings) -> bool:
    """Write progresses, past SQLAlchemy, that end no release.

    Returns False if a lease is lost or a release is not sending; then all of them have still to be
    written by `write`.
    """
    if connection.dialect.name == "postgresql":
        return _move_on(connection, together, settings)
    sqlite = driver(connection)
    sqlite.execute("BEGIN IMMEDIATE")
    moved = _move_on(connection, together, settings)
    sqlite.execute("COMMIT")
    return moved


def _move_on(connection: Connection, together: Sequence[Progress], settings: Settings) -> bool:
    if any(progress.findings for progress in together):
        states = write_progress(connection, together, settings)
        ours = all(progress.claim.key in states for progress in together)
        return ours and set(states.values()) == {GO_ON}
    lease = settings.lease_seconds * 1000
    if connection.dialect.name == "postgresql":
        columns = map(pg_array, zip(*map(_row, together), strict=True))
        moved = driver(connection).execute(MOVE_ON["postgresql"], (lease, *columns)).rowcount
    else:
        on = [(*_row(one), lease) for one in together if not one.finished]
        moved = driver(connection).executemany(MOVE_ON["sqlite"], on).rowcount if on else 0
        for one in together:
            if one.finished:
                moved += driver(connection).execute(CLOSE_IN_SQLITE, _row(one)).rowcount
    return bool(moved == len(together))


def write(
    connection: Connection,
    together: Sequence[Progress],
    settings: Settings,
    judged: Mapping[int, Judged] = MappingProxyType({}),
    staying: Collection[int | None] = (),
) -> list[str]:
    """Write several progresses, and return for each the state that its release is in.

    FENCED stands for a batch whose lease is lost; nothing of its progress is written. Releases of
    which other batches are `staying` in this process cannot end with these.
    """
    states = write_progress(connection, together, settings)
    ours = [progress for progress in together if progress.claim.key in states]
    to_write = [progress for progress in ours if not progress.plain]
    # The process that took over a lost lease may have finished the batch, but not the release.
    fenced = {one.claim.release_id for one in together if one.claim.key not in states}
    ending = {one.claim.release_id for one in ours if one.ends} | judged.keys()
    delete_accepted(connection, to_write)
    for release_id, found in sorted(judged.items()):
        if found.believed:
            believe(connection, release_id, found.believed)
        if found.marked:
            mark(connection, release_id, found.marked)
    telling = [progress for progress in to_write if tells_more(progress)]
    may_end = ending.difference(staying) | fenced
    if telling or may_end:
        with Session(connection) as session:
            changed = draw_conclusions(session, telling, settings.connections)
            for release_id in sorted(may_end):
                finish_if_complete(session, release_id)
            session.flush()
            if changed or may_end:
                states = _states(session, ours)
    return [states.get(progress.claim.key, FENCED) for progress in together]


def _states(session: Session, ours: Sequence[Progress]) -> Mapping[tuple[int, int], str]:
    """Read the states once more: this transaction may have paused or finished a release."""
    release_ids = {progress.claim.release_id for progress in ours}
    rows = session.execute(select(Release.id, Release.state).where(Release.id.in_(release_ids)))
    states = {row.id: row.state for row in rows}
    return {progress.claim.key: states[progress.claim.release_id] for progress in ours}


def _row(progress: Progress) -> tuple[int, int, int]:
    return progress.claim.batch_id, progress.claim.epoch, progress.position
