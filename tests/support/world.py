"""A world: the service in one process on the virtual clock, before a scripted relay.

Workers, sweep and press officers are tasks of one event loop; each statement is made at once. A
worker can be killed: its tasks run no more, its connections are cut, its leases run out.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import pytest
from flask import Flask
from sqlalchemy.exc import OperationalError

from mailer.config import Settings
from mailer.fanout.database_thread import DatabaseThread
from mailer.fanout.delivery.outbox import drain_outbox
from mailer.fanout.delivery.release import drain
from mailer.fanout.sweep import sweep
from mailer.storage import queues
from mailer.storage.database import driver, read_transaction
from tests.support.generations import rename
from tests.support.press_room import PressRoom, make_app, serve
from tests.support.scripted_relay import ScriptedRelay
from tests.support.virtual_time import BEGINNING, VirtualClock, VirtualLoop

T = TypeVar("T")

_REAL_WAKE = queues.wake

_DATABASE = "mailer.sqlite3"
_IDLE_SECONDS = 3600
_DRAINS = {"releases": drain, "letters": drain_outbox}
_MILLISECONDS_1970 = int(BEGINNING.timestamp() * 1000)
# When the next row is due, in milliseconds by the database's clock: a sweep before finds nothing.
_NEXT_DUE = """
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
"""


@dataclass(eq=False)
class WorkerTasks:
    """The tasks of one worker process."""

    world: World
    tasks: dict[asyncio.Task[Any], None] = field(default_factory=dict)
    """In the order in which they were started, as a set would not be."""
    dead: bool = False
    shutdown: asyncio.Event = field(default_factory=asyncio.Event)
    awake: asyncio.Event = field(default_factory=asyncio.Event)
    """Not set: its transactions wait."""
    clock_error: float = 0.0
    loses_answer: bool = False
    """The answer to its next transaction is lost: it was made, and an error is raised."""


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
        clock.error = lambda: worker.clock_error if (worker := _WORKER.get()) else 0.0
        self._queued = dict.fromkeys(_DRAINS, False)
        self._idle: dict[str, dict[asyncio.Event, WorkerTasks]] = {name: {} for name in _DRAINS}
        self.redis_is_away = False
        self.after_transaction: Callable[[], None] = lambda: None
        """Is called after each transaction of a worker."""
        self.sweeps = 0
        self._in_sweep = False
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

    def start_worker(self, clock_error: float = 0.0) -> WorkerTasks:
        """Start a worker process that serves both queues, as one without Redis does."""
        worker = WorkerTasks(self, clock_error=clock_error)
        worker.awake.set()
        self.workers.append(worker)
        token = _WORKER.set(worker)
        for name in _DRAINS:
            asyncio.create_task(self._serve(name, worker))  # noqa: RUF006 - the factory keeps it
        _WORKER.reset(token)
        return worker

    def kill(self, worker: WorkerTasks) -> None:
        """End a worker as SIGKILL does: nothing of it is seen any more."""
        worker.dead = True
        worker.awake.set()
        for protocol, owner in list(self._sessions.items()):
            if owner is worker:
                protocol.transport.abort()  # type: ignore[attr-defined]  # an SmtpProtocol has one
        for task in list(worker.tasks):
            task.cancel()

    def shut_down(self, worker: WorkerTasks) -> None:
        """End a worker as a deploy does: it hands back what it has, and claims nothing more."""
        worker.shutdown.set()
        for idle in self._idle.values():
            for job, owner in idle.items():
                if owner is worker:
                    job.set()

    def connections(self, worker: WorkerTasks) -> int:
        """Return how many connections of a worker are open."""
        return sum(
            owner is worker and not protocol.transport.is_closing()  # type: ignore[attr-defined]
            for protocol, owner in self._sessions.items()
        )

    def owner(self, protocol: asyncio.Protocol) -> WorkerTasks | None:
        """Return the worker whose connection this is."""
        return self._sessions[protocol]

    async def next_sweep(self) -> None:
        """Let time pass until the next sweep has run; there is none while no row is due."""
        await self._swept.wait()
        if self._failure is not None:
            raise self._failure

    def wake(self, _redis_url: str | None, queue_name: str) -> bool:
        """Queue a wake-up job, in place of `mailer.storage.queues.wake`.

        While Redis is away, a worker looks at the rows itself: here, after each sweep.
        """
        if self.redis_is_away and not self._in_sweep:
            return False
        idle = self._idle[queue_name]
        job = next((job for job, owner in idle.items() if not (job.is_set() or owner.dead)), None)
        if job is None:
            self._queued[queue_name] = True
        else:
            job.set()
        return True

    async def _serve(self, name: str, worker: WorkerTasks) -> None:
        while not worker.shutdown.is_set():
            try:
                await _DRAINS[name](self.room.settings, worker.shutdown)
            except Exception as failure:
                self._failure = failure
                raise
            self._drained.set()
            await self._next_job(name, worker)

    async def _next_job(self, name: str, worker: WorkerTasks) -> None:
        """Wait for a job, which one worker gets, or for the shutdown."""
        if self._queued[name]:
            self._queued[name] = False
            return
        job = asyncio.Event()
        self._idle[name][job] = worker
        try:
            await job.wait()
        finally:
            del self._idle[name][job]

    async def _sweep(self) -> None:
        """Sweep as often as the settings say, but not while no row is due."""
        while True:
            self._in_sweep = True
            sweep(self.room.settings)
            self._in_sweep = False
            self.after_transaction()
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
        try:
            with read_transaction() as session:
                due = driver(session.connection()).execute(_NEXT_DUE).fetchone()[0]
        except OperationalError:
            return self.clock.seconds + every
        if due is None:
            return self.clock.seconds + _IDLE_SECONDS
        seconds: float = (due - _MILLISECONDS_1970) / 1000 - self.clock.seconds
        return self.clock.seconds + max(every, min(_IDLE_SECONDS, -(-seconds // every) * every))

    def _connect(self, protocol: asyncio.Protocol) -> None:
        self.relay.connect(protocol)
        self._sessions[protocol] = _WORKER.get()

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
    if worker is None:
        return work()
    await worker.awake.wait()
    if worker.dead:
        raise asyncio.CancelledError
    result = work()
    worker.world.after_transaction()
    if worker.loses_answer:
        worker.loses_answer = False
        raise OperationalError("COMMIT", {}, sqlite3.OperationalError("disk I/O error"))
    return result


@lru_cache(maxsize=1)
def _application(folder: Path) -> tuple[Flask, Settings]:
    """Make the application of all worlds of a process, which remembers its compiled statements."""
    url = f"sqlite:///{folder / _DATABASE}"
    return make_app(url, MAILER_STATE_DIR=str(folder / "state"))


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
    monkeypatch.setattr(DatabaseThread, "close", DatabaseThread._close_connections)
    # Of this process alone, since processes wait for a lock of the folder of their database.
    folder = Path(f"/dev/shm/world-{os.getpid()}")
    app, usual = _application(folder)
    with ExitStack() as stack:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        stack.callback(shutil.rmtree, folder)
        shutil.copy(template, folder / _DATABASE)
        rename(usual.database_url)
        stack.enter_context(clock.installed(monkeypatch))
        room = stack.enter_context(serve(app, usual))
        stack.enter_context(app.app_context())
        room.settings = usual.model_copy(update=settings)
        made = World(room, clock, make_relay(clock))
        for name, module in list(sys.modules.items()):
            if name.startswith("mailer.") and getattr(module, "wake", None) is _REAL_WAKE:
                monkeypatch.setattr(module, "wake", made.wake)
        yield made
