"""Counters: how often something was done of late, for all processes together or for one alone."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import cast

from mailer.storage.queues import prompt_connection

_KEY = "mailer:lately"

# One hash for each name: the number of a window of time, and what was counted in it and in the
# one before. The clock is Redis's own, so that no machine's clock matters.
_SCRIPT = """
local now = tonumber(redis.call('TIME')[1])
for index, key in ipairs(KEYS) do
    local most, seconds = tonumber(ARGV[2 * index - 1]), tonumber(ARGV[2 * index])
    local number, passed = math.floor(now / seconds), now % seconds / seconds
    local kept = redis.call('HMGET', key, 'number', 'before', 'this')
    local last, before, this = tonumber(kept[1]), tonumber(kept[2]), tonumber(kept[3])
    if last ~= number then
        before = last == number - 1 and this or 0
        this = 0
    end
    if this + before * (1 - passed) >= most then return index end
    redis.call('HSET', key, 'number', number, 'before', before, 'this', this + 1)
    redis.call('EXPIRE', key, 2 * seconds)
end
return 0
"""


@dataclass(frozen=True, slots=True)
class Limit:
    """How often at most, in so many seconds, for one of a kind.

    What was done in the window of time before this one counts by the part of it that is not
    over yet, as if it had been spread evenly.
    """

    most: int
    seconds: int
    kind: str
    name: str


class SharedCounter:
    """Counts in Redis, for all processes."""

    def __init__(self, redis_url: str) -> None:
        self._script = prompt_connection(redis_url).register_script(_SCRIPT)

    def full(self, limits: Sequence[Limit]) -> Limit | None:
        """Count once for each of the limits, up to the first without room, which is returned.

        In one round trip. Whoever is stopped at one uses up nothing of those behind it.
        Raises RedisError.
        """
        answer = self._script(
            keys=[f"{_KEY}:{one.kind}:{one.name}" for one in limits],
            args=[number for one in limits for number in (one.most, one.seconds)],
        )
        index = cast("int", answer)
        return limits[index - 1] if index else None


class OwnCounter:
    """Counts in memory, for this process, and remembers two windows of time."""

    def __init__(self) -> None:
        self._kept: dict[int, _Windows] = {}
        self._lock = Lock()

    def full(self, limits: Sequence[Limit]) -> Limit | None:
        """Do the same for this process."""
        now = time.time()
        with self._lock:
            for one in limits:
                windows = self._windows(one.seconds, int(now // one.seconds))
                if windows.lately(one, now) >= one.most:
                    return one
                windows.this[one.kind, one.name] += 1
        return None

    def _windows(self, seconds: int, number: int) -> _Windows:
        kept = self._kept.get(seconds)
        if kept is None or kept.number != number:
            before = kept.this if kept and kept.number == number - 1 else Counter()
            kept = self._kept[seconds] = _Windows(number, before)
        return kept


@dataclass(slots=True)
class _Windows:
    """What was counted in a window of time, and in the one before."""

    number: int
    before: Counter[tuple[str, str]]
    this: Counter[tuple[str, str]] = field(default_factory=Counter)

    def lately(self, limit: Limit, now: float) -> float:
        key, passed = (limit.kind, limit.name), now % limit.seconds / limit.seconds
        return self.this[key] + self.before[key] * (1 - passed)
