"""A rate limiter: when the next messages may leave at a rate; pure arithmetic."""

from __future__ import annotations

_LATE_SECONDS = 0.1
"""How late a permit may be asked for without losing it: event loops have hiccups."""


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

    def is_free(self, now: float) -> bool:
        """Tell whether the next message may leave now."""
        return self._free <= now
