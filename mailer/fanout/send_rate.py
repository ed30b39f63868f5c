"""The send rate: how fast, and over how many connections, this process may send now."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from redis import RedisError

from mailer.config import Settings
from mailer.storage.rate_limits import SLICE_SECONDS, Permit, SharedRateLimit

_HEARTBEAT_SECONDS = 1.0
_MEASURED_SECONDS = 5.0
"""The accepted rate is measured over this time: long enough to be steady, short to be new."""
_SLOWED_AGAIN_SECONDS = 1.0
"""A relay that throttles tells all connections: within this time, that counts once."""
_LOWEST = 1.0
"""Messages a second that are always tried, or the end of the throttling would not be noticed."""
_RECOVERY = 1 / 6
"""Messages a second that each accepted one adds. At full use this is a factor of e in 6 s: from 1
to 5,000 a second in 51 s, after which it takes some seconds to see that nothing is held back."""
_LATE_SECONDS = 0.1
"""How late a permit may be asked for without losing it: event loops have hiccups."""

log = logging.getLogger(__name__)


class SendRate:
    """The rate limit, the adaptive rate and the connection limit of one sending process.

    With Redis, all processes keep the limits together: permits are booked there in slices, and
    connections are divided evenly among the processes whose heartbeat is fresh. While Redis is
    away, each process keeps the share it had last. Without Redis, or if it was away from the
    start, a process does not know of others, and takes the whole limits.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._limit = settings.messages_a_second
        self._adaptive = AdaptiveRate(self._limit)
        self._shared: SharedRateLimit | None = None
        if settings.redis_url and (self._limit or settings.relay_connections):
            self._shared = SharedRateLimit(settings.redis_url, self._limit)
        self._alone = self._shared is None
        self._share: Permit | None = None
        self._in_order = asyncio.Lock()
        self._permits = 0
        self._good_from = 0.0
        self._own = self._own_limiter()
        self._spent = 0

    async def run(self) -> None:
        """Send heartbeats to Redis until cancelled, then leave the share to other processes."""
        if self._shared is None:
            return
        try:
            while True:
                await self._ask(self._shared.heartbeat)
                await asyncio.sleep(_HEARTBEAT_SECONDS)
        finally:
            try:
                await asyncio.to_thread(self._shared.leave, self._spent)
            except RedisError as error:
                log.warning("Redis does not hear that we leave: %s.", type(error).__name__)

    @property
    def unlimited(self) -> bool:
        """Whether no limit applies now, so that no permit is needed."""
        return self._limit is None and self._adaptive.rate is None

    async def permit(self) -> None:
        """Wait until one more message may leave; returns without yielding if no limit applies."""
        if self.unlimited:
            return
        async with self._in_order:
            await _sleep(self._adaptive.book(time.monotonic()))
            if self._limit is not None:
                if not self._permits:
                    await self._book()
                await _sleep(self._good_from - time.monotonic())
                self._permits -= 1

    def spend(self) -> None:
        """Count a message that was sent without a permit; releases wait for its place."""
        self._spent += 1

    def slow_down(self) -> None:
        """Halve the rate: the relay has answered 421, 450, 451 or 452."""
        before = self._adaptive.rate
        self._adaptive.slow_down(time.monotonic())
        if self._adaptive.rate != before:
            log.warning("The relay wants less: %.3g messages a second now.", self._adaptive.rate)

    def accepted(self) -> None:
        """Count one accepted message, which raises the adaptive rate."""
        if self._adaptive.accepted(time.monotonic()):
            log.warning("The relay takes all again: at full speed.")

    @property
    def connections(self) -> int:
        """How many SMTP connections this process may hold right now, at least one.

        All processes together exceed the limit if there are more processes than that, and for
        the second or so until the others have heard of a new one and closed connections.
        """
        own, whole = self._settings.connections, self._settings.relay_connections
        if whole is None:
            return own
        if self._share is None:
            return min(own, whole) if self._alone else 1
        return min(own, share(whole, self._share.processes, self._share.before))

    async def _book(self) -> None:
        """Book the next slice of permits in Redis, or without it from this process's share."""
        permit = None
        if self._shared is not None and not self._alone:
            permit = await self._ask(self._shared.take)
        if permit is not None:
            self._permits, seconds = permit.permits, permit.seconds
        else:
            self._permits = max(1, int(self._own.rate * SLICE_SECONDS))
            seconds = self._own.book(self._permits, time.monotonic())
        self._good_from = time.monotonic() + seconds

    async def _ask(self, call: Callable[[int], Permit]) -> Permit | None:
        """Call Redis, which is a heartbeat too; returns None if Redis is away."""
        spent, self._spent = self._spent, 0
        try:
            self._share = await asyncio.to_thread(call, spent)
        except RedisError as error:
            if not self._alone:
                log.warning("Redis shares out no rate: %s.", type(error).__name__)
                self._alone, self._own = True, self._own_limiter()
            return None
        if self._alone:
            # Messages sent while Redis was away kept to our share; only permits in hand count.
            self._alone, self._spent = False, self._permits
        return self._share

    def _own_limiter(self) -> RateLimiter:
        """Return a limiter at this process's share of the limit, after what is booked already."""
        processes = self._share.processes if self._share else 1
        return RateLimiter((self._limit or inf) / processes, max(time.monotonic(), self._good_from))


class RateLimiter:
    """Permits messages at a rate, the first after one interval.

    A process that restarts, however often, therefore gets no extra permit.
    """

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        self._free = now + 1 / rate

    def book(self, count: int, now: float) -> float:
        """Book the next `count` messages; returns the seconds until they may leave, 0 for now."""
        start = max(self._free, now - _LATE_SECONDS)
        self._free = start + count / self.rate
        return max(0.0, start - now)


@dataclass(slots=True)
class _Count:
    """How many messages were accepted in the second that began at `began`."""

    began: float
    messages: int = 0


class AdaptiveRate:
    """Halves the rate when the relay asks for less, and raises it with each accepted message."""

    def __init__(self, limit: float | None = None) -> None:
        self._highest = limit or inf
        self._lowest = min(_LOWEST, self._highest)
        self._limiter: RateLimiter | None = None
        self._slowed = -inf
        self._measured: deque[_Count] = deque()

    @property
    def rate(self) -> float | None:
        """Messages a second while slowed down; None while nothing is held back."""
        return None if self._limiter is None else self._limiter.rate

    def slow_down(self, now: float) -> None:
        """Halve the present rate, once for all calls within a second."""
        if now - self._slowed < _SLOWED_AGAIN_SECONDS:
            return
        self._slowed = now
        measured = self._measure(now)
        slower = max(self._lowest, min(measured, self.rate or inf) / 2)
        if self._limiter is not None:
            self._limiter.rate = slower
        elif slower < self._highest:
            self._limiter = RateLimiter(slower, now)

    def accepted(self, now: float) -> bool:
        """Count one accepted message; True if the rate is not held back any more."""
        if not self._measured or now - self._measured[-1].began >= 1:
            self._measured.append(_Count(now))
            self._forget(now)
        self._measured[-1].messages += 1
        if self._limiter is None:
            return False
        self._limiter.rate += _RECOVERY
        # Above the limit, or more than twice the accepted rate, the limiter has no effect.
        if self._limiter.rate < min(self._highest, 2 * self._measure(now)):
            return False
        self._limiter = None
        return True

    def book(self, now: float) -> float:
        """Book the next message; returns the seconds until it may leave, 0 for now."""
        return 0.0 if self._limiter is None else self._limiter.book(1, now)

    def _measure(self, now: float) -> float:
        """Return the messages a second that were accepted lately."""
        self._forget(now)
        if not self._measured:
            return 0.0
        messages = sum(count.messages for count in self._measured)
        return messages / max(1.0, now - self._measured[0].began)

    def _forget(self, now: float) -> None:
        while self._measured and self._measured[0].began < now - _MEASURED_SECONDS:
            self._measured.popleft()


def share(whole: int, processes: int, before: int) -> int:
    """Return one process's share, at least 1; the remainder goes to the first processes.

    `before` is the number of processes that come before this one.
    """
    return max(1, whole // processes + (before < whole % processes))


async def _sleep(seconds: float) -> None:
    """Sleep for some seconds; asyncio.sleep(0) would yield, so 0 and less do not sleep."""
    if seconds > 0:
        await asyncio.sleep(seconds)
