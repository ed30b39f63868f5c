"""Counters: how often something was done of late, for all processes together or for one alone."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Literal, cast
from uuid import uuid4

from mailer.storage.queues import prompt_connection

# JOINED: """Quotas: what all processes together may do, shared out by one script in Redis."""

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


PROCESSES = "mailer:pace:processes"
SCHEDULE = "mailer:pace:schedule"

SLICE_SECONDS = 0.1
"""The worth of one grant, and how late one may ask without losing anything."""
ALIVE_SECONDS = 5
"""How long a process that gives no sign of life keeps its share."""

# All in microseconds of Redis's own clock, so that no machine's clock matters. What is kept may be
# lost (`known` is what this caller remembers of it) or come from another clock, hence the bounds.
_SCRIPT = """
local step, name = ARGV[1], ARGV[2]
local cost, slice, alive = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local spent, known = tonumber(ARGV[6]), tonumber(ARGV[7])
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]

redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. string.format('%.0f', now - alive))
redis.call('ZREMRANGEBYSCORE', KEYS[1], '(' .. string.format('%.0f', now), '+inf')
if step == 'leave' then
    redis.call('ZREM', KEYS[1], name)
else
    redis.call('ZADD', KEYS[1], string.format('%.0f', now), name)
    redis.call('PEXPIRE', KEYS[1], alive / 1000)
end
local names = redis.call('ZRANGE', KEYS[1], 0, -1)
local live, before = math.max(1, #names), 0
for _, other in ipairs(names) do
    if other < name then before = before + 1 end
end
if cost == 0 then return {live, before, 0, 0, 0} end

local start = math.max(tonumber(redis.call('GET', KEYS[2]) or 0), known, now - slice)
start = math.min(start + spent * cost, now + 60000000 + live * math.max(cost, slice))
local permits = 0
if step == 'take' then permits = math.max(1, math.floor(slice / cost / live)) end
local free = start + permits * cost
redis.call('SET', KEYS[2], string.format('%.0f', free),
           'PX', string.format('%.0f', math.max(0, free - now) / 1000 + 60000))
return {live, before, permits, start - now, free}
"""


@dataclass(frozen=True, slots=True)
class Turn:
    """One answer: how many processes live, how many come before us, and our next permits."""

    processes: int
    before: int
    permits: int
    seconds: float
    """How long to wait until the permits are good; below 0 if that time has passed."""


class Quota:
    """One process's part in what all may do; every call takes a round trip, or raises RedisError.

    The limit is a schedule: Redis keeps the moment from which the next message is free. A turn
    books a slice from there on, so whoever asks is served in order, nobody asks in vain, and a
    limit of one message a minute works as one of thousands a second. Counting windows, as is done
    for sign-ups, would let the whole window go at once.
    """

    def __init__(self, redis_url: str, messages_a_second: float | None) -> None:
        self._script = prompt_connection(redis_url).register_script(_SCRIPT)
        self._name = uuid4().hex
        self._cost = 1_000_000 / messages_a_second if messages_a_second else 0.0
        self._known = 0

    def beat(self, spent: int) -> Turn:
        """Give a sign of life, and account for messages that left without a permit."""
        return self._run("beat", spent)

    def take(self, spent: int) -> Turn:
        """Do the same and book a slice: at least one permit, at most our part of the slice."""
        return self._run("take", spent)

    def leave(self, spent: int) -> None:
        """Account for the last messages, and leave our share to the others at once."""
        self._run("leave", spent)

    def _run(self, step: Literal["beat", "take", "leave"], spent: int) -> Turn:
        slice_, alive = int(SLICE_SECONDS * 1_000_000), ALIVE_SECONDS * 1_000_000
        answer = self._script(
            keys=[PROCESSES, SCHEDULE],
            args=[step, self._name, self._cost, slice_, alive, spent, self._known],
        )
        processes, before, permits, wait, self._known = cast("list[int]", answer)
        return Turn(processes, before, permits, wait / 1_000_000)
