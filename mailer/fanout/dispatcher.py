"""Draining: as many connections as allowed, for as long as there is something to send."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from mailer.config import Settings
from mailer.fanout.acknowledgements import Committer
from mailer.fanout.batches import SMALL_RELEASE, Claim, releases_waiting
from mailer.fanout.chores import beside
from mailer.fanout.database_thread import Abandoned, Ledger
from mailer.fanout.delivery import Courier, Workshop
from mailer.fanout.freeze import freeze_next, release_is_due
from mailer.fanout.recipients import Directory
from mailer.fanout.release_letters import Compositor
from mailer.fanout.send_rate import Pace
from mailer.storage.queues import ring

T = TypeVar("T")

_LOOK_SECONDS = 0.05
_GATHER_SECONDS = 0.005
_ROUND_SECONDS = 1.0
_LEAVE_WITHIN_SECONDS = 7

log = logging.getLogger(__name__)


async def drain(settings: Settings, leaving: asyncio.Event) -> None:
    """Freeze what is due and send every batch that is free, until none is left.

    When `leaving` is set, each connection finishes the message it is at and hands its
    batch back.
    """
    ledger, freezer = Ledger(leaving), Ledger(leaving)
    committer = Committer(ledger, settings)
    pace = Pace(settings)
    workshop = Workshop(
        settings, ledger, committer, Directory(ledger), Compositor(settings), pace, leaving
    )
    try:
        async with beside(committer.run(), committer.keep_leases(), pace.run()):
            await _Crew(workshop, freezer).work()
    except Abandoned:
        log.warning("The database stays away: what is in hand is left to its leases.")
    finally:
        ledger.close()
        freezer.close()


class _Crew:
    """The couriers of one process: who is on the way, and who waits with an open connection."""

    def __init__(self, workshop: Workshop, freezer: Ledger) -> None:
        self._shop = workshop
        self._freezer = freezer
        self._idle: list[Courier] = []
        self._busy: dict[asyncio.Task[None], tuple[Courier, Claim]] = {}
        self._freezing: asyncio.Task[int | None] | None = None
        self._news = asyncio.Event()
        self._next_freeze = self._next_look = self._next_round = 0.0

    async def work(self) -> None:
        """Send until nothing is left, or until it is time to leave."""
        # Most often this is what we were called for, and connecting takes longer than asking.
        self._freezing = self._freeze()
        while not self._shop.leaving.is_set():
            if not self._busy or time.monotonic() >= self._next_look:
                await self._look()
            await self._send_out()
            if not self._busy and self._freezing is None:
                break
            await self._look_round()
            self._welcome(await self._some_return())
        if self._freezing is not None:
            await self._freezing
        if self._busy:
            self._welcome(await self._all_return())
        for courier in self._idle:
            await courier.leave()

    def _freeze(self) -> asyncio.Task[int | None]:
        """Freeze what is due, while other releases go out."""
        self._next_freeze = time.monotonic() + _LOOK_SECONDS
        connections = self._shop.settings.connections
        return self._start(
            self._freezer.transact(lambda session: freeze_next(session, connections))
        )

    async def _look(self) -> None:
        """See which releases have a batch that is free, and whether one has to be frozen."""
        self._next_look = time.monotonic() + _LOOK_SECONDS
        waiting, due = await self._shop.ledger.state(
            lambda connection: (releases_waiting(connection), release_is_due(connection))
        )
        self._shop.waiting = waiting
        # What is due and cannot be had is in somebody else's hands, who may take long.
        if due and self._freezing is None and time.monotonic() >= self._next_freeze:
            self._freezing = self._freeze()

    async def _send_out(self) -> None:
        """Claim a batch for every connection that is free; the last one carries small releases."""
        connections = self._shop.pace.connections
        while (waiting := self._shop.waiting) and (free := connections - len(self._busy)) > 0:
            reserved = free == 1 < connections
            if reserved and min(waiting.values()) >= SMALL_RELEASE:
                return
            in_hand = Counter(claim.release_id for _, claim in self._busy.values())
            at_most = free if reserved else max(1, free - 1)
            claims = await self._shop.claim(in_hand, at_most, small=reserved)
            if not claims:
                # Nothing is left to take; the next look will tell of what comes then.
                waiting.clear()
                return
            for claimed in claims:
                courier = self._idle.pop() if self._idle else Courier(self._shop)
                self._busy[self._start(courier.deliver(claimed))] = courier, claimed

    async def _look_round(self) -> None:
        """See what is ours no longer, who waits behind the rest, and wake another to help."""
        if time.monotonic() < self._next_round:
            return
        self._next_round = time.monotonic() + _ROUND_SECONDS
        for courier, claim in self._busy.values():
            # Others have taken it over: nobody here waits for what the relay may still answer.
            if not self._shop.committer.holds(claim):
                courier.drop()
        self._shop.crowded = len(self._busy) > self._shop.pace.connections
        while self._idle and len(self._busy) + len(self._idle) > self._shop.pace.connections:
            await self._idle.pop().leave()
        if self._shop.waiting:
            await asyncio.to_thread(ring, self._shop.settings.redis_url, "releases")

    async def _some_return(self) -> set[asyncio.Task[None]]:
        """Wait until somebody comes back or a freeze is over, at the longest for the next look."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_SECONDS):
                await self._news.wait()
        self._news.clear()
        if self._freezing is not None and self._freezing.done():
            if self._freezing.result() is not None:
                self._next_freeze = 0.0
            self._freezing, self._next_look = None, 0.0
        elif any(task.done() for task in self._busy):
            # A claim costs the same for many as for one.
            await asyncio.sleep(_GATHER_SECONDS)
        return {task for task in self._busy if task.done()}

    def _start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Let something go on beside us, and be told of its end."""
        task = asyncio.create_task(work)
        task.add_done_callback(lambda _: self._news.set())
        return task

    async def _all_return(self) -> set[asyncio.Task[None]]:
        """Wait for the messages on their way; a relay that is silent is left without an answer."""
        done, late = await asyncio.wait(self._busy, timeout=_LEAVE_WITHIN_SECONDS)
        for task in late:
            task.cancel()
            courier, _ = self._busy.pop(task)
            courier.drop()
        return done

    def _welcome(self, returned: set[asyncio.Task[None]]) -> None:
        for task in returned:
            courier, _ = self._busy.pop(task)
            self._idle.append(courier)
            task.result()
