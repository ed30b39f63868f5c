"""The dispatcher fills the SMTP connections of a process with batches or outbox messages."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from mailer.fanout.answers.backoff import Backoff
from mailer.fanout.delivery.leases import Claimed
from mailer.fanout.delivery.message import Delivery, DeliveryContext, NotConnected
from mailer.fanout.delivery.relay_view import RelayView
from mailer.mail.smtp_protocol import Reply

LOOK_SECONDS = 0.05
_GATHER_SECONDS = 0.005
_HOUSEKEEPING_SECONDS = 1.0
_SHUTDOWN_SECONDS = 7
_CLOSED_SECONDS = 300
"""How long a connection that the relay answered with a refusal stays closed."""
_UNANSWERED_SECONDS = 10
_GRACE_SECONDS = 1.0
"""Another process may just have begun to send: its first acceptance is noted within this time."""

log = logging.getLogger(__name__)


class Run(Protocol):
    """Something claimed, which is to be sent over a connection."""

    @property
    def claimed(self) -> Claimed:
        """The row that is leased."""

    async def run(self, delivery: Delivery) -> None:
        """Send it; raises NotConnected after it has been handed back."""

    def give_way(self) -> None:
        """Let other connections have what has not begun, if it is more than one message."""


class Work(Protocol):
    """Where runs come from: releases, or the outbox."""

    closed_seconds: float
    """How long a connection that the relay refused stays closed."""
    takes_permits: bool
    """Whether it keeps to the rate limit and the adaptive rate."""

    @property
    def is_waiting(self) -> bool:
        """Whether there was something to claim at the last look."""

    @property
    def is_preparing(self) -> bool:
        """Whether something is being made that can be claimed soon."""

    def is_prepared(self) -> bool:
        """Tell, once, that it has been made."""

    async def look(self) -> None:
        """Read what there is to claim."""

    async def claim(self, busy: Sequence[Run], free: int, connections: int) -> Sequence[Run]:
        """Claim for free connections, none if there is nothing."""

    async def claim_probe(self) -> Run | None:
        """Claim the probe of the relay, if it is due, and one run to probe with."""

    async def wake_another(self) -> None:
        """Wake another worker, since more is waiting than this one has connections for."""


class ConnectionPool:
    """The SMTP connections of one process: those that send, and those that are idle."""

    def __init__(self, context: DeliveryContext, work: Work, something_ended: asyncio.Event):
        self._context = context
        self._work = work
        self._idle: list[Delivery] = []
        self._busy: dict[asyncio.Task[None], tuple[Delivery, Run]] = {}
        self._closed: list[float] = []
        """When each connection that the relay did not take may be opened again."""
        self._something_ended = something_ended
        self._next_look = self._next_housekeeping = 0.0
        self._relay = RelayView(context, takes_permits=work.takes_permits)
        self._told = False

    async def run(self) -> None:
        """Send until nothing can be claimed, or until shutdown."""
        try:
            await self._run()
        finally:
            # After a mistake, or if the database stays away, some are still busy.
            for task, (delivery, _) in self._busy.items():
                task.cancel()
                delivery.drop()
            for idle in self._idle:
                idle.drop()

    async def _run(self) -> None:
        while not self._context.shutdown.is_set():
            if not self._busy or time.monotonic() >= self._next_look:
                await self._look()
            await self._fill()
            if not (self._busy or self._work.is_preparing or self._waits_for_connections):
                break
            await self._housekeeping()
            await self._collect(await self._wait_for_some())
        if self._busy:
            await self._collect(await self._wait_for_all())
        await self._relay.end()
        for idle in self._idle:
            await idle.quit()

    async def _look(self) -> None:
        """Read what there is to claim, and whether the relay backoff lasts."""
        self._next_look = time.monotonic() + LOOK_SECONDS
        await self._relay.look(at_once=not self._busy)
        await self._work.look()

    async def _fill(self) -> None:
        """Claim something for every free connection."""
        if self._relay.backoff.lasts and self._relay.backoff.probe_is_due and not self._busy:
            self._relay.backoff = Backoff(lasts=True)
            if (probe := await self._work.claim_probe()) is not None:
                self._begin(probe)
        if self._context.sends_nothing:
            return
        connections = self._connections()
        while self._work.is_waiting and (free := connections - len(self._busy)) > 0:
            runs = [run for _, run in self._busy.values()]
            claimed = await self._work.claim(runs, free, connections)
            if not claimed:
                return
            for run in claimed:
                self._begin(run)

    def _begin(self, run: Run) -> None:
        # One that is connected, if there is one: the relay may not take another connection.
        self._idle.sort(key=lambda idle: idle.connection is not None)
        delivery = self._idle.pop() if self._idle else Delivery(self._context)
        task = asyncio.create_task(run.run(delivery))
        task.add_done_callback(lambda _: self._something_ended.set())
        self._busy[task] = delivery, run

    @property
    def _waits_for_connections(self) -> bool:
        """Whether something waits, and other processes hold all connections for the moment."""
        return self._work.is_waiting and not self._context.sends_nothing and self._allowed() == 0

    def _connections(self) -> int:
        """Return how many connections may be used now."""
        now = time.monotonic()
        self._closed = [until for until in self._closed if until > now]
        return self._allowed() - len(self._closed)

    def _allowed(self) -> int:
        """Return how many connections the limits allow, with another for each silent one."""
        self._context.send_rate.note_open(len(self._busy) + len(self._idle))
        own = self._context.send_rate.connections
        silent = sum(delivery.is_silent(beside=own) for delivery, _ in self._busy.values())
        return self._context.send_rate.connections_beside(silent)

    async def _housekeeping(self) -> None:
        """Drop connections that are too many or whose lease is lost, and wake another worker."""
        if time.monotonic() < self._next_housekeeping:
            return
        self._next_housekeeping = time.monotonic() + _HOUSEKEEPING_SECONDS
        for delivery, run in self._busy.values():
            # Another process may have it: the relay's reply is not waited for here.
            if not self._context.leases.is_ours(run.claimed):
                delivery.drop()
        connections = self._allowed()
        if not self._work.is_waiting and (len(self._busy) < connections or self._others_may_help()):
            self._give_way()
        self._context.over_share = len(self._busy) > connections
        # Those in place of silent ones stay open when these are answered: they may be so again.
        most = self._context.send_rate.connections_beside(self._context.settings.connections)
        while self._idle and len(self._busy) + len(self._idle) > most:
            await self._idle.pop().quit()
        if self._work.is_waiting and not self._context.sends_nothing:
            await self._work.wake_another()

    def _others_may_help(self) -> bool:
        """Tell whether all connections here are silent, and other processes have some, too."""
        others = self._context.send_rate.processes > 1
        return others and all(delivery.is_silent() for delivery, _ in self._busy.values())

    def _give_way(self) -> None:
        """Let idle connections have what waits behind a message that the relay does not answer."""
        for delivery, run in self._busy.values():
            if delivery.is_silent():
                run.give_way()

    async def _wait_for_some(self) -> list[asyncio.Task[None]]:
        """Wait until a run or a preparation ends, at most until the next look."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_SECONDS):
                await self._something_ended.wait()
        self._something_ended.clear()
        if self._work.is_prepared():
            self._next_look = 0.0
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

    async def _collect(self, ended: Sequence[asyncio.Task[None]]) -> None:
        """Put the connections of ended runs among the idle ones, or close them for a while."""
        refusals: list[Reply | None] = []
        for task in ended:
            delivery, _ = self._busy.pop(task)
            self._idle.append(delivery)
            try:
                task.result()
            except NotConnected as failure:
                refusals.append(failure.reply)
        if refusals and not self._relay.backoff.lasts:
            await self._not_connected(refusals)

    async def _not_connected(self, refusals: Sequence[Reply | None]) -> None:
        """Leave connections closed for a while: a relay may allow fewer than we open."""
        for reply in refusals:
            seconds = _UNANSWERED_SECONDS if reply is None else self._work.closed_seconds
            self._closed.append(time.monotonic() + seconds)
        if not self._busy and not any(idle.connection for idle in self._idle):
            await self._none_connects(refusals[-1])
        elif refusals[-1] is not None and not self._told:
            self._told = True
            log.warning(
                "The relay does not take as many connections as we open (%s); if it stays so, set "
                "MAILER_RELAY_CONNECTIONS to the number that it allows.",
                refusals[-1].status,
            )

    async def _none_connects(self, reply: Reply | None) -> None:
        """Begin the relay backoff, unless the relay has answered another process just now."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_GRACE_SECONDS):
                await self._context.shutdown.wait()
        await self._context.not_connected(reply)
