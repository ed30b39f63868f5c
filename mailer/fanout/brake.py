"""The brake: how fast one process may go, alone or after the relay has asked for less."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import inf

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
