"""The row about the relay as one process sees it: backoff and adaptive rate, once a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from mailer.fanout.answers import backoff, found_rate
from mailer.fanout.answers.backoff import Backoff
from mailer.fanout.delivery.message import DeliveryContext

_LOOK_SECONDS = 1.0
"""How often a process that sends looks whether another has begun the relay backoff."""
_RETRIES_FIRST_MILLISECONDS = 3_600_000
"""For an hour after a relay backoff, recipients who were put off go before those never tried."""
_JUST_ENDED_MILLISECONDS = 15_000
"""Longer than a sweep, which wakes the drains that the backoff has ended, takes to come."""


class RelayView:
    """What a process does about the row about the relay."""

    def __init__(self, context: DeliveryContext, *, takes_permits: bool) -> None:
        self.backoff = Backoff()
        self._context = context
        self._send_rate = context.send_rate
        self._takes_permits = takes_permits
        self._next_look, self._started_slowly = 0.0, False
        self._noted_at: int | None = None
        """The moment at which this process noted that it sets the rate."""

    async def look(self, *, at_once: bool) -> None:
        """Read the row once a second, or at once, and note in it the rate that this process sets.

        A process that begins takes the rate over from there.
        """
        moment, begins = time.monotonic(), not self._next_look
        if at_once or moment >= self._next_look:
            self._next_look = moment + _LOOK_SECONDS
            await self._read(begins=begins)
            await self._note_rate()

    async def end(self) -> None:
        """Leave the rate to other processes."""
        await self._note_rate(ends=True)

    async def _note_rate(self, *, ends: bool = False) -> None:
        """Note the rate for other processes: those without Redis, and those that begin later."""
        send_rate, noted_at = self._send_rate, self._noted_at
        if self._takes_permits and (send_rate.is_held_back or noted_at is not None):
            self._noted_at = await self._context.database.run_statement(
                lambda connection: found_rate.note_rate(connection, send_rate, noted_at, ends=ends)
            )

    async def _read(self, *, begins: bool) -> None:
        before = self.backoff.lasts
        row = self.backoff = await self._context.database.run_statement(backoff.read)
        if self._takes_permits:
            await self._let_one_set_the_rate(row)
        self._context.sends_nothing = row.lasts or self._send_rate.stands_aside
        if row.lasts and not before:
            await self._note_accepted(backoff.note_accepted)
        ended = row.ended_before
        self._context.retries_first = ended is not None and ended < _RETRIES_FIRST_MILLISECONDS
        if not self._send_rate.stands_aside:
            self._start_slowly(ended)
            if begins and row.rate is not None and not self._started_slowly:
                self._send_rate.begin_at(row.rate)

    async def _let_one_set_the_rate(self, row: Backoff) -> None:
        """Stand aside if another process sets the rate; count what was accepted of those who do."""
        stood_aside = self._send_rate.stands_aside
        another = row.rate_is_set and self._noted_at is None
        self._send_rate.note_another(sets_rate=another and not row.lasts)
        if self._send_rate.stands_aside and not stood_aside:
            await self._note_accepted(found_rate.note_accepted)
        elif self._noted_at is not None and row.others_accepted:
            self._send_rate.count_others(row.others_accepted)

    async def _note_accepted(self, note: Callable[..., None]) -> None:
        if accepted := self._send_rate.accepted_a_minute:
            await self._context.database.run_statement(partial(note, accepted=accepted))

    def _start_slowly(self, ended_before: int | None) -> None:
        """Begin slowly, once, after a relay backoff that another drain has just ended."""
        just_ended = ended_before is not None and ended_before < _JUST_ENDED_MILLISECONDS
        if just_ended and not self._started_slowly and self._send_rate.adaptive is None:
            self._send_rate.start_again(self.backoff.rate)
        self._started_slowly = just_ended
