"""Pace: how fast, and on how many connections, mail may leave from the whole service."""

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
from mailer.storage.rate_limits import SLICE_SECONDS, Quota, Turn

# JOINED: """The brake: how fast one process may go, alone or after the relay has asked for less."""

_BEAT_SECONDS = 1.0

log = logging.getLogger(__name__)


class Pace:
    """What one process that sends mail may do now; `run` beside the work keeps that up to date.

    With Redis, all processes keep to the limits together: permits are booked there by the slice,
    connections are shared out evenly among the processes that give signs of life. While Redis is
    away, each keeps to the share it had last. Without Redis, or if it was away from the start, a
    process knows nothing of others, and takes the limits as its own.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._limit = settings.messages_a_second
        self._brake = Brake(self._limit)
        self._quota: Quota | None = None
        if settings.redis_url and (self._limit or settings.relay_connections):
            self._quota = Quota(settings.redis_url, self._limit)
        self._alone = self._quota is None
        self._share: Turn | None = None
        self._in_order = asyncio.Lock()
        self._permits = 0
        self._good_from = 0.0
        self._own = self._own_turnstile()
        self._spent = 0

    async def run(self) -> None:
        """Give signs of life until cancelled, then leave; a chore to run beside the work."""
        if self._quota is None:
            return
        try:
            while True:
                await self._ask(self._quota.beat)
                await asyncio.sleep(_BEAT_SECONDS)
        finally:
            try:
                await asyncio.to_thread(self._quota.leave, self._spent)
            except RedisError as error:
                log.warning("Redis does not hear that we leave: %s.", type(error).__name__)

    @property
    def free(self) -> bool:
        """Whether nothing limits us now, so that no permit is needed."""
        return self._limit is None and self._brake.rate is None

    async def permit(self) -> None:
        """Wait until one more message may leave; at once, without yielding, if nothing limits."""
        if self.free:
            return
        async with self._in_order:
            await _sleep(self._brake.book(time.monotonic()))
            if self._limit is not None:
                if not self._permits:
                    await self._book()
                await _sleep(self._good_from - time.monotonic())
                self._permits -= 1

    def spend(self) -> None:
        """Count a message that does not wait for a permit: the releases make room for it."""
        self._spent += 1

    def slow_down(self) -> None:
        """Go half as fast: the relay has answered 421, 450, 451 or 452, and wants less."""
        before = self._brake.rate
        self._brake.press(time.monotonic())
        if self._brake.rate != before:
            log.warning("The relay wants less: %.3g messages a second now.", self._brake.rate)

    def accepted(self) -> None:
        """Recover bit by bit: the relay has taken a message."""
        if self._brake.accepted(time.monotonic()):
            log.warning("The relay takes all again: at full speed.")

    @property
    def connections(self) -> int:
        """How many SMTP connections this process may hold right now, at least one.

        All together hold more than the limit if there are more processes than that, and for the
        second or so until the others have heard of a new one, and have given connections back.
        """
        own, whole = self._settings.connections, self._settings.relay_connections
        if whole is None:
            return own
        if self._share is None:
            return min(own, whole) if self._alone else 1
        return min(own, share(whole, self._share.processes, self._share.before))

    async def _book(self) -> None:
        """Book the next slice: together with all others in Redis, or alone from our own share."""
        turn = None
        if self._quota is not None and not self._alone:
            turn = await self._ask(self._quota.take)
        if turn is not None:
            self._permits, seconds = turn.permits, turn.seconds
        else:
            self._permits = max(1, int(self._own.rate * SLICE_SECONDS))
            seconds = self._own.book(self._permits, time.monotonic())
        self._good_from = time.monotonic() + seconds

    async def _ask(self, question: Callable[[int], Turn]) -> Turn | None:
        """Ask Redis, which is a sign of life too; none if it is away."""
        spent, self._spent = self._spent, 0
        try:
            self._share = await asyncio.to_thread(question, spent)
        except RedisError as error:
            if not self._alone:
                log.warning("Redis shares out no pace: %s.", type(error).__name__)
                self._alone, self._own = True, self._own_turnstile()
            return None
        if self._alone:
            # What left meanwhile was paced, and is past; what is in hand was booked elsewhere.
            self._alone, self._spent = False, self._permits
        return self._share

    def _own_turnstile(self) -> Turnstile:
        """Begin to let our share of the limit through, after what we have booked already."""
        processes = self._share.processes if self._share else 1
        return Turnstile((self._limit or inf) / processes, max(time.monotonic(), self._good_from))


def share(whole: int, processes: int, before: int) -> int:
    """Share a whole out evenly, at least 1 each; the remainder goes to those who come first."""
    return max(1, whole // processes + (before < whole % processes))


async def _sleep(seconds: float) -> None:
    """Sleep if there is something to sleep for; a sleep of 0 would still yield."""
    if seconds > 0:
        await asyncio.sleep(seconds)


_MEASURED_SECONDS = 5.0
"""What counts as the present speed: long enough to be steady, short enough to be of today."""
_PRESSED_AGAIN_SECONDS = 1.0
"""All connections hear the same complaint: together they are one."""
_LOWEST = 1.0
"""Messages a second that are always tried, for else nobody would notice that it is over."""
_RECOVERY = 1 / 6
"""Messages a second that each accepted one adds. At full use this is a factor of e in 6 s: from 1
to 5,000 a second in 51 s, after which it takes some seconds to see that nothing is held back."""
_LATE_SECONDS = 0.1
"""How late a permit may be asked for without losing it: event loops have hiccups."""


class Turnstile:
    """Lets one after another through at a rate, the first after one interval.

    So whoever starts anew, however often, gets nothing extra.
    """

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        self._free = now + 1 / rate

    def book(self, count: int, now: float) -> float:
        """Book the next `count` places; return the seconds until they are good, 0 for at once."""
        start = max(self._free, now - _LATE_SECONDS)
        self._free = start + count / self.rate
        return max(0.0, start - now)


@dataclass(slots=True)
class _Count:
    """How many messages were accepted in the second that began then."""

    began: float
    messages: int = 0


class Brake:
    """Halves the speed when pressed, and lets go bit by bit with what the relay accepts."""

    def __init__(self, limit: float | None = None) -> None:
        self._highest = limit or inf
        self._lowest = min(_LOWEST, self._highest)
        self._turnstile: Turnstile | None = None
        self._pressed = -inf
        self._measured: deque[_Count] = deque()

    @property
    def rate(self) -> float | None:
        """Messages a second while braking; none once nothing is held back."""
        return None if self._turnstile is None else self._turnstile.rate

    def press(self, now: float) -> None:
        """Go half as fast as at present, once for all who press within a second."""
        if now - self._pressed < _PRESSED_AGAIN_SECONDS:
            return
        self._pressed = now
        speed = self._speed(now)
        slower = max(self._lowest, min(speed, self.rate or inf) / 2)
        if self._turnstile is not None:
            self._turnstile.rate = slower
        elif slower < self._highest:
            self._turnstile = Turnstile(slower, now)

    def accepted(self, now: float) -> bool:
        """Count one message that the relay took; True if that lets go of the brake."""
        if not self._measured or now - self._measured[-1].began >= 1:
            self._measured.append(_Count(now))
            self._forget(now)
        self._measured[-1].messages += 1
        if self._turnstile is None:
            return False
        self._turnstile.rate += _RECOVERY
        # Above the limit, or more than twice what leaves: it holds nothing back any more.
        if self._turnstile.rate < min(self._highest, 2 * self._speed(now)):
            return False
        self._turnstile = None
        return True

    def book(self, now: float) -> float:
        """Book the next message; return the seconds until it may leave, 0 for at once."""
        return 0.0 if self._turnstile is None else self._turnstile.book(1, now)

    def _speed(self, now: float) -> float:
        """Measure the messages a second that were accepted lately."""
        self._forget(now)
        if not self._measured:
            return 0.0
        messages = sum(count.messages for count in self._measured)
        return messages / max(1.0, now - self._measured[0].began)

    def _forget(self, now: float) -> None:
        while self._measured and self._measured[0].began < now - _MEASURED_SECONDS:
            self._measured.popleft()
