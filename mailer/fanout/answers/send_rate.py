"""The send rate: how fast, and over how many connections, this process may send now."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from math import inf

from redis import RedisError

from mailer.config import Settings
from mailer.fanout.answers.common_rate import CommonRate
from mailer.fanout.answers.rate_limiter import RateLimiter
from mailer.storage.rate_limits import SLICE_SECONDS, Permit, SharedRateLimit

_HEARTBEAT_SECONDS = 1.0
_SHORT_SECONDS = 0.1
"""A sleep of which shutdown can wait for the end, and between heartbeats while a rate is shared."""

log = logging.getLogger(__name__)


class SendRate:
    """The rate limit, the adaptive rate and the connection limit of one sending process.

    With Redis, all processes keep the limits together: permits are booked there in slices, and
    connections are divided evenly among the processes whose heartbeat is fresh. The first of them
    sets the adaptive rate, by the answers to all. While Redis is away, each process keeps the share
    it had last. Without Redis, or if it was away from the start, a process does not know of others,
    and takes the whole limits.
    """

    def __init__(self, settings: Settings, shutdown: asyncio.Event) -> None:
        self._settings = settings
        self._shutdown = shutdown
        self._limit = settings.messages_a_second
        self._common = CommonRate(self._limit, settings.redis_url)
        self._rate: float | None = None
        self._shared: SharedRateLimit | None = None
        if settings.redis_url:
            self._shared = SharedRateLimit(
                settings.redis_url, self._limit, settings.relay_connections
            )
        self._alone = self._shared is None
        self.stands_aside = False
        """Whether another process sets the rate meanwhile, of several that have no Redis."""
        self._share: Permit | None = None
        self._in_order = asyncio.Lock()
        self._permits, self._good_from = 0, 0.0
        self._own = self._own_limiter()
        self._spent = 0

    async def run(self) -> None:
        """Send heartbeats to Redis until cancelled, then leave the share to other processes."""
        if self._shared is None:
            return
        try:
            while True:
                await self._ask(self._shared.heartbeat)
                if not self._alone:
                    await self._common.share(sets=self._sets_rate)
                    self._keep_rate()
                await asyncio.sleep(_HEARTBEAT_SECONDS if self._rate is None else _SHORT_SECONDS)
        finally:
            try:
                await asyncio.to_thread(self._shared.leave, self._spent)
            except RedisError as error:
                log.warning("Redis does not hear that we leave: %s.", type(error).__name__)

    @property
    def adaptive(self) -> float | None:
        """The adaptive rate, in messages a second, while it holds messages back."""
        return self._rate

    @property
    def found(self) -> float | None:
        """The adaptive rate that this process has found, for those that begin later."""
        return self._common.adaptive.found

    @property
    def is_held_back(self) -> bool:
        """Whether this process sets the adaptive rate, and holds messages back."""
        return self._common.adaptive.rate is not None

    @property
    def accepted_a_minute(self) -> int:
        """How many messages of this process were accepted in the last minute."""
        return self._common.accepted_a_minute(time.monotonic())

    @property
    def processes(self) -> int:
        """How many processes send, as far as Redis has said."""
        return self._share.processes if self._share else 1

    def note_another(self, *, sets_rate: bool) -> None:
        """Stand aside while another process sets the rate, if there is no Redis to share it."""
        self.stands_aside = sets_rate and self._alone

    def count_others(self, accepted: int) -> None:
        """Count what was accepted of processes that stand aside now."""
        self._common.adaptive.count_others(accepted, time.monotonic())

    def begin_at(self, rate: float) -> None:
        """Begin at a rate that a process before this one has found."""
        self._common.begin_at(rate, time.monotonic())
        self._keep_rate()

    def permit_at_once(self) -> bool:
        """Take a permit for one more message if it need not wait for one."""
        if self._limit is None and self._rate is None:
            return True
        moment = time.monotonic()
        waits = self._takes_slices and (not self._permits or moment < self._good_from)
        if waits or self._in_order.locked():
            return False
        if self._alone and not self._common.adaptive.is_free(moment):
            return False
        self._count_permit(moment)
        return True

    async def permit(self) -> bool:
        """Wait until one more message may leave, without yielding if no limit applies.

        Returns False if the process is to leave, or to stand aside, before that.
        """
        if self.permit_at_once():
            return True
        async with self._in_order:
            if self.stands_aside:
                return False
            if self._takes_slices and not self._shutdown.is_set():
                if not self._permits:
                    await self._book()
                await self._sleep(self._good_from - time.monotonic())
            await self._sleep(self._count_permit(time.monotonic()))
        return not (self._shutdown.is_set() or self.stands_aside)

    @property
    def _takes_slices(self) -> bool:
        """Whether permits are booked some at a time: the adaptive rate of one process is finer."""
        return self._limit is not None or (self._rate is not None and not self._alone)

    def _count_permit(self, moment: float) -> float:
        """Count a permit that is used; returns how long the adaptive rate still wants to wait."""
        self._permits = max(0, self._permits - self._takes_slices)
        if self._alone:
            return self._common.adaptive.book(moment)
        self._common.adaptive.count_booked(1)
        return 0.0

    def spend(self) -> None:
        """Count a message that was sent without a permit; releases wait for its place."""
        self._spent += 1

    def answered(self, *, accepted: bool, throttled: bool) -> None:
        """Adapt the rate to the relay's answer to one message."""
        now, alone = time.monotonic(), self._alone
        self._common.answered(now, accepted=accepted, throttled=throttled, alone=alone)
        self._keep_rate()

    def start_again(self, rate: float | None) -> None:
        """Begin after a relay backoff at what the relay took before, or at a message a second."""
        if rate is None:
            self._common.slow_start(time.monotonic())
            self._keep_rate()
        else:
            self.begin_at(rate)

    @property
    def _sets_rate(self) -> bool:
        """Whether this process sets the rate: alone, or the first of those that live."""
        return self._alone or self._share is None or self._share.before == 0

    @property
    def connections(self) -> int:
        """How many SMTP connections this process may hold right now."""
        return self.connections_beside(0)

    def connections_beside(self, silent: int) -> int:
        """Return how many it may hold if some are silent: each may have another in its place.

        None until Redis has said how many, or while others still hold what is to be its share. All
        processes together exceed the limit only if there are more processes than that.
        """
        own, whole = self._settings.connections, self._settings.relay_connections
        most = own + min(silent, own)
        if whole is None:
            return most
        if self._share is None:
            return min(most, whole) if self._alone else 0
        # While Redis is away, a process that was granted none yet must not wait for it.
        granted = max(self._share.connections, int(self._alone))
        # In place of silent ones all but one are taken: a letter must not wait for them.
        return min(most, max(min(own, granted), granted - 1))

    def note_open(self, connections: int) -> None:
        """Note how many connections are open now, for the other processes to hear of."""
        if self._shared is not None:
            self._shared.open = connections

    def _keep_rate(self) -> None:
        """Keep to the common rate; log when messages begin to be held back, and when they end."""
        rate = self._common.rate
        if rate == self._rate:
            return
        if rate is None:
            log.warning("The relay takes all again: at full speed.")
        elif self._rate is None:
            log.warning("The relay wants less: %.3g messages a second now.", rate)
        self._rate = rate
        if self._shared is not None:
            self._shared.messages_a_second = min(rate or inf, self._limit or inf)

    async def _sleep(self, seconds: float) -> None:
        """Sleep for some seconds, or until the process is to leave; for 0 without yielding."""
        if seconds <= 0 or self._shutdown.is_set():
            return
        if seconds <= _SHORT_SECONDS:
            await asyncio.sleep(seconds)
        else:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._shutdown.wait()

    async def _book(self) -> None:
        """Book the next slice of permits in Redis, or without it from this process's share."""
        permit = None
        if self._shared is not None and not self._alone:
            permit = await self._ask(self._shared.take)
        if permit is not None:
            # None were booked if the rate has just stopped holding messages back.
            self._permits, seconds = max(1, permit.permits), permit.seconds
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
                if not self._sets_rate and self._rate is not None:
                    self._common.begin_at(self._rate, time.monotonic())
                self._alone, self._own = True, self._own_limiter()
            return None
        if self._alone:
            # Messages sent while Redis was away kept to our share; only permits in hand count.
            self._alone, self._spent = False, self._permits
        return self._share

    def _own_limiter(self) -> RateLimiter:
        """Return a limiter at this process's share of the limit, after what is booked already."""
        return RateLimiter(
            (self._limit or inf) / self.processes, max(time.monotonic(), self._good_from)
        )
