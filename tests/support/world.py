"""A world: the service in one process on the virtual clock, before a scripted relay.

Workers, sweep and press officers are tasks of one event loop; each statement is made at once. A
worker can be killed: its tasks run no more, its connections are cut, its leases run out.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import pytest
from sqlalchemy import text

from mailer.fanout.database_thread import DatabaseThread
from mailer.fanout.delivery.outbox import drain_outbox
from mailer.fanout.delivery.release import drain
from mailer.fanout.sweep import sweep
from mailer.storage import queues
from mailer.storage.database import read_transaction
from tests.support.press_room import PressRoom, open_press_room
from tests.support.scripted_relay import ScriptedRelay
from tests.support.virtual_time import BEGINNING, VirtualClock, VirtualLoop

T = TypeVar("T")

_REAL_WAKE = queues.wake

_IDLE_SECONDS = 3600
_DRAINS = {"releases": drain, "letters": drain_outbox}
_MILLISECONDS_1970 = int(BEGINNING.timestamp() * 1000)
# When the next row is due, in milliseconds by the database's clock: a sweep before finds nothing.
_NEXT_DUE = text("""
    WITH backoff AS (SELECT coalesce(probe_after, 0) AS waits FROM relay)
    SELECT min(due) FROM (
        SELECT lease_until AS due FROM batches WHERE open
        UNION ALL SELECT lease_until FROM outbox WHERE finished_at IS NULL
        UNION ALL SELECT max(next_at, waits)
            FROM outcomes JOIN releases ON releases.id = release_id, backoff
            WHERE kind = 'deferred' AND batch_id IS NULL AND state = 'sending'
        UNION ALL SELECT max(not_before, waits) FROM outbox, backoff WHERE finished_at IS NULL
        UNION ALL SELECT max(coalesce(releases.not_before, 0), waits)
            FROM batches JOIN releases ON releases.id = release_id, backoff
            WHERE open AND lease_until IS NULL AND state = 'sending'
    )
""")


@dataclass(eq=False)
class WorkerTasks:
    """The tasks of one worker process."""

    tasks: dict[asyncio.Task[Any], None] = field(default_factory=dict)
    """In the order in which they were started, as a set would not be."""
    dead: bool = False


_WORKER: ContextVar[WorkerTasks | None] = ContextVar("worker", default=None)


class World:
    """One press room, its workers and the relay."""

    def __init__(self, room: PressRoom, clock: VirtualClock, relay: ScriptedRelay) -> None:
        self.room = room
        self.clock = clock
        self.relay = relay
        self.loop = VirtualLoop(clock, self._connect)
        self.loop.set_task_factory(self._new_task)
        self.workers: list[WorkerTasks] = []
        self._sessions: dict[asyncio.Protocol, WorkerTasks | None] = {}
        self._jobs = {name: asyncio.Event() for name in _DRAINS}
        self.sweeps = 0
        self._failure: Exception | None = None
        self._drained = asyncio.Event()
        self._swept = asyncio.Event()

    def run(self, story: Callable[[World], Coroutine[Any, Any, T]]) -> T:
        """Run a story with a sweep beside it, and end every task at its end."""

        async def main() -> T:
            # Kept, since the loop itself holds a task only weakly.
            self._sweeping = asyncio.create_task(self._sweep())
            try:
                return await story(self)
            finally:
                for worker in self.workers:
                    self.kill(worker)
                while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
                    # More than once: a cancellation can meet the end of what is waited for.
                    for task in tasks:
                        task.cancel()
                    await asyncio.wait(tasks, timeout=1)

        try:
            return self.loop.run_until_complete(main())
        finally:
            self.loop.close()

    def start_worker(self) -> WorkerTasks:
        """Start a worker process that serves both queues, as one without Redis does."""
        worker = WorkerTasks()
        self.workers.append(worker)
        token = _WORKER.set(worker)
        for name in _DRAINS:
            asyncio.create_task(self._serve(name))  # noqa: RUF006 - the factory keeps it
        _WORKER.reset(token)
        return worker

    def kill(self, worker: WorkerTasks) -> None:
        """End a worker as SIGKILL does: nothing of it is seen any more."""
        worker.dead = True
        for protocol, owner in list(self._sessions.items()):
            if owner is worker:
                protocol.transport.abort()  # type: ignore[attr-defined]  # an SmtpProtocol has one
        for task in list(worker.tasks):
            task.cancel()

    def owner(self, protocol: asyncio.Protocol) -> WorkerTasks | None:
        """Return the worker whose connection this is."""
        return self._sessions[protocol]

    async def next_sweep(self) -> None:
        """Let time pass until the next sweep has run; there is none while no row is due."""
        await self._swept.wait()
        if self._failure is not None:
            raise self._failure

    def wake(self, _redis_url: str | None, queue_name: str) -> bool:
        """Queue a wake-up job, in place of `mailer.storage.queues.wake`."""
        self._jobs[queue_name].set()
        return True

    async def _serve(self, name: str) -> None:
        while True:
            try:
                await _DRAINS[name](self.room.settings, asyncio.Event())
            except Exception as failure:
                self._failure = failure
                raise
            self._drained.set()
            await self._jobs[name].wait()
            self._jobs[name].clear()

    async def _sweep(self) -> None:
        """Sweep as often as the settings say, but not while no row is due."""
        while True:
            sweep(self.room.settings)
            self.sweeps += 1
            self._swept.set()
            self._swept = asyncio.Event()
            due = self._next_due()
            while self.clock.seconds < due:
                # What a drain leaves behind may be due earlier.
                self._drained.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(due - self.clock.seconds):
                        await self._drained.wait()
                due = min(due, self._next_due())

    def _next_due(self) -> float:
        """Return when the next sweep can find something, in an hour at most."""
        every = self.room.settings.sweep_seconds
        with read_transaction() as session:
            due = session.scalar(_NEXT_DUE)
        seconds = (due - _MILLISECONDS_1970) / 1000 - self.clock.seconds if due else _IDLE_SECONDS
        return self.clock.seconds + max(every, min(_IDLE_SECONDS, -(-seconds // every) * every))

    def _connect(self, protocol: asyncio.Protocol) -> None:
        self._sessions[protocol] = _WORKER.get()
        self.relay.connect(protocol)

    def _new_task(
        self, loop: asyncio.AbstractEventLoop, work: Any, context: Any = None
    ) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, context=context)
        if worker := _WORKER.get():
            worker.tasks[task] = None
            task.add_done_callback(lambda ended: worker.tasks.pop(ended, None))
        return task


async def _once(_database: DatabaseThread, work: Callable[[], T]) -> T:
    """Run a transaction at once, in place of the database thread; none of a dead worker's."""
    worker = _WORKER.get()
    if worker is not None and worker.dead:
        raise asyncio.CancelledError
    return work()


@contextmanager
def world(
    template: Path,
    monkeypatch: pytest.MonkeyPatch,
    make_relay: Callable[[VirtualClock], ScriptedRelay],
    **settings: object,
) -> Iterator[World]:
    """Make a world in which the time is 0, on a copy of a migrated database.

    The copy is in memory: no world ends because the machine does, so nothing is synced to a disk.
    """
    clock = VirtualClock()
    monkeypatch.setattr(DatabaseThread, "_once", _once)
    with (
        TemporaryDirectory(dir="/dev/shm") as folder,
        clock.installed(monkeypatch),
        open_press_room(f"sqlite:///{shutil.copy(template, folder)}") as room,
        room.app.app_context(),
    ):
        room.settings = room.settings.model_copy(update=settings)
        made = World(room, clock, make_relay(clock))
        for name, module in list(sys.modules.items()):
            if name.startswith("mailer.") and getattr(module, "wake", None) is _REAL_WAKE:
                monkeypatch.setattr(module, "wake", made.wake)
        yield made
