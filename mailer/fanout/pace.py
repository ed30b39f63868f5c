"""Pace: how fast, and on how many connections, mail may leave from the whole service."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from math import inf

from redis import RedisError

from mailer.config import Settings
from mailer.fanout.brake import Brake, Turnstile
from mailer.storage.quotas import SLICE_SECONDS, Quota, Turn

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
