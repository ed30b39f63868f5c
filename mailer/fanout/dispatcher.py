"""The dispatcher claims free batches for as many SMTP connections as are allowed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from mailer.config import Settings
from mailer.fanout.acknowledgements import AcknowledgementWriter
from mailer.fanout.batches import SMALL_RELEASE, Claim, releases_waiting
from mailer.fanout.database_thread import Abandoned, DatabaseThread
from mailer.fanout.delivery import BatchDelivery, DeliveryContext
from mailer.fanout.freeze import freeze_next, release_is_due
from mailer.fanout.recipients import RecipientLoader
from mailer.fanout.release_letters import LetterComposer
from mailer.fanout.send_rate import SendRate
from mailer.storage.queues import wake

T = TypeVar("T")

_LOOK_SECONDS = 0.05
_GATHER_SECONDS = 0.005
_HOUSEKEEPING_SECONDS = 1.0
_SHUTDOWN_SECONDS = 7

log = logging.getLogger(__name__)


async def drain(settings: Settings, shutdown: asyncio.Event) -> None:
    """Freeze releases that are due and send every free batch, until none is left.

    When `shutdown` is set, each connection finishes its message and hands its batch back.
    """
    database, freeze_database = DatabaseThread(shutdown), DatabaseThread(shutdown)
    acknowledgements = AcknowledgementWriter(database, settings)
    recipients = RecipientLoader(database, LetterComposer(settings))
    send_rate = SendRate(settings)
    context = DeliveryContext(settings, database, acknowledgements, recipients, send_rate, shutdown)
    try:
        async with asyncio.TaskGroup() as group:
            background = [
                group.create_task(task)
                for task in (
                    acknowledgements.run(),
                    acknowledgements.keep_leases(),
                    send_rate.run(),
                )
            ]
            await ConnectionPool(context, freeze_database).run()
            for task in background:
                task.cancel()
    except* Abandoned:
        log.warning("The database stays away: claimed batches are left to their leases.")
    finally:
        database.close()
        freeze_database.close()


class ConnectionPool:
    """The SMTP connections of one process: those that deliver a batch, and those that are idle."""

    def __init__(self, context: DeliveryContext, freeze_database: DatabaseThread) -> None:
        self._context = context
        self._freeze_database = freeze_database
        self._idle: list[BatchDelivery] = []
        self._busy: dict[asyncio.Task[None], tuple[BatchDelivery, Claim]] = {}
        self._freezing: asyncio.Task[int | None] | None = None
        self._something_ended = asyncio.Event()
        self._next_freeze = self._next_look = self._next_housekeeping = 0.0

    async def run(self) -> None:
        """Send until no batch is free, or until shutdown."""
        # A job mostly comes for a new release, and freezing it takes less time than connecting.
        self._freezing = self._freeze()
        while not self._context.shutdown.is_set():
            if not self._busy or time.monotonic() >= self._next_look:
                await self._look()
            await self._dispatch()
            if not self._busy and self._freezing is None:
                break
            await self._housekeeping()
            self._collect(await self._wait_for_some())
        if self._freezing is not None:
            await self._freezing
        if self._busy:
            self._collect(await self._wait_for_all())
        for delivery in self._idle:
            await delivery.quit()

    def _freeze(self) -> asyncio.Task[int | None]:
        """Freeze a release that is due, while others are being sent."""
        self._next_freeze = time.monotonic() + _LOOK_SECONDS
        connections = self._context.settings.connections
        return self._start(
            self._freeze_database.run_in_session(lambda session: freeze_next(session, connections))
        )

    async def _look(self) -> None:
        """Read which releases have a free batch, and whether one is due to be frozen."""
        self._next_look = time.monotonic() + _LOOK_SECONDS
        waiting, due = await self._context.database.run_statement(
            lambda connection: (releases_waiting(connection), release_is_due(connection))
        )
        self._context.waiting = waiting
        # A release that stays due is being frozen by another process, which may take long.
        if due and self._freezing is None and time.monotonic() >= self._next_freeze:
            self._freezing = self._freeze()

    async def _dispatch(self) -> None:
        """Claim a batch for every free connection; the last one is reserved for small releases."""
        connections = self._context.send_rate.connections
        while (waiting := self._context.waiting) and (free := connections - len(self._busy)) > 0:
            reserved = free == 1 < connections
            if reserved and min(waiting.values()) >= SMALL_RELEASE:
                return
            in_hand = Counter(claim.release_id for _, claim in self._busy.values())
            at_most = free if reserved else max(1, free - 1)
            claims = await self._context.claim(in_hand, at_most, small=reserved)
            if not claims:
                # No batch is free any more; the next look reads which are then.
                waiting.clear()
                return
            for claimed in claims:
                delivery = self._idle.pop() if self._idle else BatchDelivery(self._context)
                self._busy[self._start(delivery.deliver(claimed))] = delivery, claimed

    async def _housekeeping(self) -> None:
        """Drop connections that are too many or whose batch is lost, and wake another worker."""
        if time.monotonic() < self._next_housekeeping:
            return
        self._next_housekeeping = time.monotonic() + _HOUSEKEEPING_SECONDS
        for delivery, claim in self._busy.values():
            # Another process may have the batch: the relay's reply is not waited for here.
            if not self._context.acknowledgements.has_lease(claim):
                delivery.drop()
        connections = self._context.send_rate.connections
        self._context.over_share = len(self._busy) > connections
        while self._idle and len(self._busy) + len(self._idle) > connections:
            await self._idle.pop().quit()
        if self._context.waiting:
            await asyncio.to_thread(wake, self._context.settings.redis_url, "releases")

    async def _wait_for_some(self) -> list[asyncio.Task[None]]:
        """Wait until a delivery or a freeze ends, at most until the next look."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_SECONDS):
                await self._something_ended.wait()
        self._something_ended.clear()
        if self._freezing is not None and self._freezing.done():
            if self._freezing.result() is not None:
                self._next_freeze = 0.0
            self._freezing, self._next_look = None, 0.0
        elif any(task.done() for task in self._busy):
            # One claim serves many connections at the price of one.
            await asyncio.sleep(_GATHER_SECONDS)
        return [task for task in self._busy if task.done()]

    async def _wait_for_all(self) -> list[asyncio.Task[None]]:
        """Wait for the messages being sent; connections still busy after 7 seconds are dropped."""
        await asyncio.wait(self._busy, timeout=_SHUTDOWN_SECONDS)
        for task in [task for task in self._busy if not task.done()]:
            task.cancel()
            delivery, _ = self._busy.pop(task)
            delivery.drop()
        return list(self._busy)

    def _start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run a coroutine as a task whose end wakes the pool."""
        task = asyncio.create_task(work)
        task.add_done_callback(lambda _: self._something_ended.set())
        return task

    def _collect(self, ended: list[asyncio.Task[None]]) -> None:
        """Put the connections of ended deliveries among the idle ones."""
        for task in ended:
            delivery, _ = self._busy.pop(task)
            self._idle.append(delivery)
            task.result()
