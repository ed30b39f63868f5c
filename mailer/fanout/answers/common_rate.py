"""The common rate: the adaptive rate that one process sets for all, by the answers to all."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from functools import partial

from redis import RedisError

from mailer.fanout.answers.adaptive_rate import AdaptiveRate
from mailer.fanout.answers.answer_count import AnswerCount, LongRun
from mailer.storage.shared_rate import Answers, SharedAdaptiveRate, SharedRate

_MINUTE = 60.0


class CommonRate:
    """The part of one process in the common rate; all times are those of `time.monotonic`.

    A process without Redis is alone, and sets the rate for itself.
    """

    def __init__(self, limit: float | None, redis_url: str | None) -> None:
        self.adaptive = AdaptiveRate(limit)
        self.rate: float | None = None
        """Messages a second for all processes; None while nothing is held back."""
        self._limit = limit
        self._exchange = SharedAdaptiveRate(redis_url) if redis_url else None
        # What was not yet told to the process that sets the rate.
        self._untold, self._slow_starts, self._knows_rate = AnswerCount(), 0, False
        self._has_told = False
        self._accepted = LongRun()

    def answered(self, now: float, *, accepted: bool, throttled: bool, alone: bool) -> None:
        """Adapt the rate to the relay's answer to one message."""
        self._accepted.add(accepted, now)
        if alone:
            self.adaptive.answered(now, accepted=accepted, throttled=throttled)
            self.rate = self.adaptive.rate
        else:
            self._untold.add(1, accepted, throttled, 0)

    def accepted_a_minute(self, now: float) -> int:
        """Return how many messages of this process were accepted in the last minute."""
        return int(_MINUTE * self._accepted.rate(now, 0, _MINUTE))

    def begin_at(self, rate: float, now: float) -> None:
        """Begin at a rate that a process has found before."""
        self.adaptive.take_over(rate, now)
        self.rate = self.adaptive.rate

    def slow_start(self, now: float) -> None:
        """Begin at one message a second after a relay backoff."""
        # Whether this process sets the rate may not be known yet.
        self._slow_starts += 1
        self.adaptive.slow_start(now)
        self.rate = self.adaptive.rate

    async def share(self, *, sets: bool) -> None:
        """Set the rate for all processes, or tell the one that sets it what was answered here."""
        if self._exchange is None:
            return
        untold, slow_starts, self._slow_starts = self._told(), self._slow_starts, 0
        if not sets:
            self.adaptive = AdaptiveRate(self._limit)
            call = partial(self._exchange.tell, untold, slow_starts)
        elif self._knows_rate:
            rising = self.adaptive.phase == "rise"
            call = partial(self._exchange.set, self.adaptive.rate, rising=rising)
        else:
            call = partial(self._exchange.ask)
        with suppress(RedisError):
            found = await asyncio.to_thread(call)
            if sets:
                self._adapt(found, untold, time.monotonic())
            self._knows_rate = sets
            if sets or found.rate is not None or self._has_told:
                self.rate = self.adaptive.rate if sets else found.rate
            self._has_told = not sets

    def _told(self) -> Answers:
        """Return the answers that were not told yet, and count them as told."""
        count, self._untold = self._untold, AnswerCount()
        return Answers(count.answers, count.accepted, count.throttled, count.turns)

    def _adapt(self, found: SharedRate, untold: Answers, now: float) -> None:
        """Adapt the rate to what was answered to all processes."""
        answers = found.others.plus(untold)
        if not self._knows_rate and found.rate is not None and self.adaptive.rate is None:
            self.adaptive.take_over(found.rate, now, rising=found.rising)
        if found.slow_starts:
            self.adaptive.slow_start(now)
        self.adaptive.count_booked(found.others.number)
        if answers.number:
            self.adaptive.answered(now, **answers._asdict())
