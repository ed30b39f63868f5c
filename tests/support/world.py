"""A world: the service in one process on the virtual clock, before a scripted relay.

Workers, sweep and press officers are tasks of one event loop; each statement is made at once. A
worker can be killed: its tasks run no more, its connections are cut, its leases run out.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy import select, text

from mailer.config import Settings
from mailer.domain import publishers
from mailer.domain.followers import subscriptions
from mailer.domain.followers.follower_csv import import_followers
from mailer.domain.followers.subscriptions import Evidence
from mailer.domain.releases import lifecycle, publishing, receipts
from mailer.domain.releases.receipts import Receipt
from mailer.domain.releases.release_body import ReleaseBody
from mailer.fanout.database_thread import DatabaseThread
from mailer.fanout.dispatcher import drain
from mailer.fanout.outbox_delivery import drain_outbox
from mailer.fanout.sweep import sweep
from mailer.storage import queues
from mailer.storage.database import read_transaction, transaction
from mailer.storage.migrations import upgrade
from mailer.storage.models import Publisher, Subscriber, Subscription
from tests.service import application, contract
from tests.support.scripted_relay import ScriptedRelay
from tests.support.virtual_time import BEGINNING, VirtualClock, VirtualLoop

T = TypeVar("T")

_REAL_WAKE = queues.wake

_SLUG = "oya"
_IDLE_SECONDS = 600
_EVIDENCE = Evidence(language="nb", page="https://oya.example/", network=None)
_DRAINS = {"releases": drain, "letters": drain_outbox}
_MILLISECONDS_1970 = int(BEGINNING.timestamp() * 1000)
# When the next row is due, in milliseconds by the database's clock: a sweep before finds nothing.
_NEXT_DUE = text("""
    SELECT min(due) FROM (
        SELECT lease_until AS due FROM batches WHERE open
        UNION ALL SELECT not_before FROM batches WHERE open
        UNION ALL SELECT next_at FROM outcomes WHERE kind = 'deferred' AND batch_id IS NULL
        UNION ALL SELECT lease_until FROM outbox WHERE finished_at IS NULL
        UNION ALL SELECT not_before FROM outbox WHERE finished_at IS NULL
    )
""")


@dataclass(eq=False)
class WorkerTasks:
    """The tasks of one worker process."""

    tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    dead: bool = False


_WORKER: ContextVar[WorkerTasks | None] = ContextVar("worker", default=None)


class World:
    """One press room, its followers, workers and the relay."""

    def __init__(self, settings: Settings, clock: VirtualClock, relay: ScriptedRelay) -> None:
        self.settings = settings
        self.clock = clock
        self.relay = relay
        self.loop = VirtualLoop(clock, self._connect)
        self.loop.set_task_factory(self._new_task)
        self.publisher: Publisher = publishers.find(_SLUG)
        self._workers: list[WorkerTasks] = []
        self._sessions: dict[asyncio.Protocol, WorkerTasks | None] = {}
        self._jobs = {name: asyncio.Event() for name in _DRAINS}

    def follow(self, *addresses: str) -> None:
        """Import followers."""
        import_followers(_SLUG, ["address", *addresses], locales=("nb",))

    def publish(self, **fields: Any) -> int:
        """Publish a release and return its id."""
        content = {"reference": "r", "language": "nb", "title": "T", "body_html": "<p>Hei</p>"}
        body = ReleaseBody.read(content | fields)
        return publishing.publish(self.settings, self.publisher, body).id

    def stop(self, release_id: int) -> None:
        """Stop a release."""
        lifecycle.stop(self.publisher, release_id)

    def resume(self, release_id: int) -> None:
        """Resume a release."""
        lifecycle.resume(self.settings, self.publisher, release_id)

    def pause(self, release_id: int) -> None:
        """Pause a release, as what finds a mistake does."""
        with transaction() as session:
            lifecycle.pause(session, release_id, "A test pauses it.")

    def leave(self, subscription_id: int) -> None:
        """End a subscription."""
        subscriptions.unsubscribe(self.settings, subscription_id, _EVIDENCE)

    def subscription_ids(self) -> list[int]:
        """Return the ids of all subscriptions."""
        with read_transaction() as session:
            return list(session.scalars(select(Subscription.id).order_by(Subscription.id)))

    def addresses(self) -> list[str]:
        """Return the addresses of all subscribers."""
        with read_transaction() as session:
            return list(session.scalars(select(Subscriber.address).order_by(Subscriber.id)))

    def recipient(self, release_id: int, address: str) -> dict[str, Any]:
        """Return what became of one recipient."""
        return receipts.recipient(self.publisher, release_id, address)

    def receipt(self, release_id: int) -> Receipt:
        """Return the receipt of a release."""
        return receipts.receipt(self.publisher, release_id)

    def run(self, story: Callable[[World], Coroutine[Any, Any, T]]) -> T:
        """Run a story with a sweep beside it, and end every task at its end."""

        async def main() -> T:
            sweeping = asyncio.create_task(self._sweep())
            try:
                return await story(self)
            finally:
                sweeping.cancel()
                for worker in self._workers:
                    self.kill(worker)
                await asyncio.sleep(0)

        try:
            return self.loop.run_until_complete(main())
        finally:
            self.loop.close()

    def start_worker(self) -> WorkerTasks:
        """Start a worker process that serves both queues, as one without Redis does."""
        worker = WorkerTasks()
        self._workers.append(worker)
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
                protocol.transport.abort()  # type: ignore[attr-defined]
        for task in worker.tasks:
            task.cancel()

    async def until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Let time pass until a condition holds, at most for some seconds; tell whether it does."""
        end = self.clock.seconds + seconds
        while not condition():
            if self.clock.seconds >= end:
                return False
            await asyncio.sleep(1 if self.clock.seconds < 60 else 60)
        return True

    def wake(self, _redis_url: str | None, queue_name: str) -> bool:
        """Queue a wake-up job, in place of `mailer.storage.queues.wake`."""
        self._jobs[queue_name].set()
        return True

    async def _serve(self, name: str) -> None:
        while True:
            await _DRAINS[name](self.settings, asyncio.Event())
            await self._jobs[name].wait()
            self._jobs[name].clear()

    async def _sweep(self) -> None:
        """Sweep as often as the settings say, but not while no row is due."""
        every = self.settings.sweep_seconds
        while True:
            sweep(self.settings)
            with read_transaction() as session:
                due = session.scalar(_NEXT_DUE)
            seconds = (
                (due - _MILLISECONDS_1970) / 1000 - self.clock.seconds if due else _IDLE_SECONDS
            )
            await asyncio.sleep(max(every, min(_IDLE_SECONDS, -(-seconds // every) * every)))

    def _connect(self, protocol: asyncio.Protocol) -> None:
        self._sessions[protocol] = _WORKER.get()
        self.relay.connect(protocol)

    def _new_task(
        self, loop: asyncio.AbstractEventLoop, work: Any, context: Any = None
    ) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, context=context)
        if worker := _WORKER.get():
            worker.tasks.add(task)
            task.add_done_callback(worker.tasks.discard)
        return task


async def _once(_database: DatabaseThread, work: Callable[[], T]) -> T:
    """Run a transaction at once, in place of the database thread; none of a dead worker's."""
    worker = _WORKER.get()
    if worker is not None and worker.dead:
        raise asyncio.CancelledError
    return work()


@contextmanager
def world(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    make_relay: Callable[[VirtualClock], ScriptedRelay],
    **settings: object,
) -> Iterator[World]:
    """Make a world on a database of its own, in which the time is 0."""
    template = folder / "template.db"
    if not template.exists():
        upgrade(f"sqlite:///{template}")
    shutil.copy(template, folder / "world.db")
    clock = VirtualClock()
    monkeypatch.setattr(DatabaseThread, "_once", _once)
    variables = contract(
        database_url=f"sqlite:///{folder / 'world.db'}", redis_url="", smtp_url="smtp://relay"
    )
    with clock.installed(monkeypatch), application(variables) as app:
        own: Settings = app.extensions["settings"].model_copy(update=settings)
        publishers.add(publishers.PublisherDraft(_SLUG, "Øya", "presse@example.org", "nb"))
        made = World(own, clock, make_relay(clock))
        for name, module in list(sys.modules.items()):
            if name.startswith("mailer.") and getattr(module, "wake", None) is _REAL_WAKE:
                monkeypatch.setattr(module, "wake", made.wake)
        yield made
