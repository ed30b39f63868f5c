"""Rate limits that all processes share through Redis: counters of sign-ups, permits to send."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Literal, cast
from uuid import uuid4

from mailer.storage.queues import quick_connection

# This key keeps its name: during a deploy, processes of both versions count by it.
_SIGNUP_KEY = "mailer:lately"

# One hash for each limit: the number of the present window of time, and the counts in it and in
# the window before. The clock is Redis's, so that clocks of other machines do not matter.
_WINDOW_SCRIPT = """
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

# These keys keep their names: during a deploy, processes of both versions share them.
PROCESSES = "mailer:pace:processes"
SCHEDULE = "mailer:pace:schedule"
_HELD = "mailer:pace:connections"

SLICE_SECONDS = 0.1
"""How much time one booking covers, and how late one may be made without losing permits."""
ALIVE_SECONDS = 5
"""How long a process keeps its share without a heartbeat."""

# All in microseconds of Redis's clock, so that clocks of other machines do not matter. Redis may
# lose the schedule (`known` is what the caller remembers of it) or get another clock, hence the
# bounds.
_SCHEDULE_SCRIPT = """
local step, name = ARGV[1], ARGV[2]
local cost, slice, alive = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local spent, known = tonumber(ARGV[6]), tonumber(ARGV[7])
local whole, open = tonumber(ARGV[8]), tonumber(ARGV[9])
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

-- A process counts as holding what it was granted last, or what it has still open beyond that: one
-- that joins gets the rest, up to its share. A process of the version before says nothing, and
-- counts as holding its share.
local granted = 0
if step == 'leave' then
    redis.call('HDEL', KEYS[3], name)
elseif whole > 0 then
    local others, alive_names, unsaid = 0, {}, math.floor(whole / live)
    for _, other in ipairs(names) do
        alive_names[other] = true
        if other ~= name then
            others = others + tonumber(redis.call('HGET', KEYS[3], other) or unsaid)
        end
    end
    for _, other in ipairs(redis.call('HKEYS', KEYS[3])) do
        if not alive_names[other] then redis.call('HDEL', KEYS[3], other) end
    end
    local share = unsaid + (before < whole % live and 1 or 0)
    granted = math.max(live > whole and 1 or 0, math.min(share, whole - others))
    redis.call('HSET', KEYS[3], name, math.max(granted, open))
    redis.call('PEXPIRE', KEYS[3], alive / 1000)
end
if cost == 0 then return {live, before, 0, 0, 0, granted} end

local start = math.max(tonumber(redis.call('GET', KEYS[2]) or 0), known, now - slice)
start = math.min(start + spent * cost, now + 60000000 + live * math.max(cost, slice))
local permits = 0
if step == 'take' then permits = math.max(1, math.floor(slice / cost / live)) end
local free = start + permits * cost
redis.call('SET', KEYS[2], string.format('%.0f', free),
           'PX', string.format('%.0f', math.max(0, free - now) / 1000 + 60000))
return {live, before, permits, start - now, free, granted}
"""


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `most` sign-ups in `seconds`, for one name of a kind, such as a network.

    Sign-ups of the window before count by the part of that window that lies within the last
    `seconds`, as if they had been spread evenly.
    """

    most: int
    seconds: int
    kind: str
    name: str


class SharedCounter:
    """Counts sign-ups in Redis, for all processes."""

    def __init__(self, redis_url: str) -> None:
        self._script = quick_connection(redis_url).register_script(_WINDOW_SCRIPT)

    def full(self, limits: Sequence[Limit]) -> Limit | None:
        """Count once for each limit, up to the first that is full, which is returned.

        One round trip. A sign-up that is stopped at one limit does not count for later ones.
        Raises RedisError.
        """
        answer = self._script(
            keys=[f"{_SIGNUP_KEY}:{one.kind}:{one.name}" for one in limits],
            args=[number for one in limits for number in (one.most, one.seconds)],
        )
        index = cast("int", answer)
        return limits[index - 1] if index else None


class OwnCounter:
    """Counts sign-ups in the memory of this process, which keeps two windows of time."""

    def __init__(self) -> None:
        self._kept: dict[int, _Windows] = {}
        self._lock = Lock()

    def full(self, limits: Sequence[Limit]) -> Limit | None:
        """Count once for each limit, up to the first that is full, which is returned."""
        now = time.time()
        with self._lock:
            for one in limits:
                windows = self._windows(one.seconds, int(now // one.seconds))
                if windows.weighted_count(one, now) >= one.most:
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
    """The counts of one window of time, and of the window before."""

    number: int
    before: Counter[tuple[str, str]]
    this: Counter[tuple[str, str]] = field(default_factory=Counter)

    def weighted_count(self, limit: Limit, now: float) -> float:
        key, passed = (limit.kind, limit.name), now % limit.seconds / limit.seconds
        return self.this[key] + self.before[key] * (1 - passed)


@dataclass(frozen=True, slots=True)
class Permit:
    """Redis's answer: the live processes, how many of them come before this one, its permits."""

    processes: int
    before: int
    permits: int
    seconds: float
    """How long to wait until the permits are valid; below 0 if that time has passed."""
    connections: int
    """How many it may hold: its share, or what is left of the limit; 0 if there is no limit."""


class SharedRateLimit:
    """One process's share of the limits on sending.

    The rate limit is a schedule: Redis keeps the time from which the next message may be booked.
    `take` books a slice from there on, so processes are served in order, every call gets a permit,
    and one message a minute works as well as thousands a second. A window of time, as for sign-ups,
    would let all its messages leave at once. Every call is one round trip, or raises RedisError.

    Connections are divided evenly; a process that joins gets those that others no longer hold.
    """

    def __init__(
        self, redis_url: str, messages_a_second: float | None, connections: int | None = None
    ) -> None:
        self._script = quick_connection(redis_url).register_script(_SCHEDULE_SCRIPT)
        self._name = uuid4().hex
        self.messages_a_second = messages_a_second
        self._known = 0
        self._connections = connections or 0
        self.open = 0
        """How many connections this process has open now."""

    def heartbeat(self, spent: int) -> Permit:
        """Keep this process's share, and book `spent` messages that left without a permit."""
        return self._run("heartbeat", spent)

    def take(self, spent: int) -> Permit:
        """Do as `heartbeat`, and book permits: this process's share of a slice, at least one."""
        return self._run("take", spent)

    def leave(self, spent: int) -> None:
        """Book `spent` messages, and give this process's share to the other processes at once."""
        self._run("leave", spent)

    def _run(self, step: Literal["heartbeat", "take", "leave"], spent: int) -> Permit:
        cost = 1_000_000 / self.messages_a_second if self.messages_a_second else 0.0
        slice_, alive = int(SLICE_SECONDS * 1_000_000), ALIVE_SECONDS * 1_000_000
        answer = self._script(
            keys=[PROCESSES, SCHEDULE, _HELD],
            args=[
                *(step, self._name, cost, slice_, alive, spent, self._known),
                *(self._connections, self.open),
            ],
        )
        processes, before, permits, wait, self._known, connections = cast("list[int]", answer)
        return Permit(processes, before, permits, wait / 1_000_000, connections)
