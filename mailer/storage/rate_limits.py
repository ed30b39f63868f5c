"""Rate limits that all processes share through Redis: turns of sign-ups, permits to send."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Literal, cast
from uuid import uuid4

from mailer.storage.queues import quick_connection

_SIGNUP_KEY = "mailer:signups"
_KEPT_AT_MOST = 100_000

# One number for each limit: when, by Redis's clock in microseconds, a sign-up would have nothing
# before it. Each puts that off by a step. It may be ahead of the present by as many steps as may
# come at once; a sign-up further ahead waits for the difference.
_BOOK_SCRIPT = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local wait, free = 0, {}
for index, key in ipairs(KEYS) do
    local step, most, waiting = unpack(ARGV, 3 * index - 2, 3 * index)
    local kept = tonumber(redis.call('GET', key) or 0)
    -- More than could have been booked is not ours.
    if not kept or not (kept <= now + step * (most + waiting + 1)) then kept = 0 end
    free[index] = math.max(kept, now) + step
    local late = free[index] - now - step * most
    if late > step * waiting then return {index, 0} end
    wait = math.max(wait, late)
end
for index, key in ipairs(KEYS) do
    local kept = string.format('%.0f', math.ceil((free[index] - now) / 1000))
    redis.call('SET', key, string.format('%.0f', free[index]), 'PX', kept)
end
return {0, wait}
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

local kept = tonumber(redis.call('GET', KEYS[2]) or 0)
if kept ~= kept then kept = 0 end
local start = math.max(kept, known, now - slice)
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

    They may come at once; further ones wait for their turn, as many as may wait.
    """

    most: int
    seconds: int
    kind: str
    name: str
    waiting: int = 0

    @property
    def step(self) -> int:
        """The microseconds from one turn to the next."""
        return self.seconds * 1_000_000 // self.most


Booked = tuple[Limit | None, float]
"""The limit that is full, if one is; else the seconds until the turn of a sign-up."""


class SharedBooking:
    """Books the turns of sign-ups in Redis, for all processes."""

    def __init__(self, redis_url: str) -> None:
        self._script = quick_connection(redis_url).register_script(_BOOK_SCRIPT)

    def book(self, limits: Sequence[Limit]) -> Booked:
        """Book one turn at every limit, or none if one is full. One round trip, or RedisError."""
        answer = self._script(
            keys=[f"{_SIGNUP_KEY}:{one.kind}:{one.name}" for one in limits],
            args=[number for one in limits for number in (one.step, one.most, one.waiting)],
        )
        index, wait = cast("list[int]", answer)
        return (limits[index - 1], 0.0) if index else (None, wait / 1_000_000)


class OwnBooking:
    """Books the turns of sign-ups in the memory of this process."""

    def __init__(self) -> None:
        self._free: dict[tuple[str, str], int] = {}
        self._lock = Lock()

    def book(self, limits: Sequence[Limit]) -> Booked:
        """Book one turn at every limit, or none if one is full."""
        now, wait = int(time.time() * 1_000_000), 0
        with self._lock:
            if len(self._free) > _KEPT_AT_MOST:
                self._free = {key: free for key, free in self._free.items() if free > now}
            booked = {}
            for one in limits:
                key = (one.kind, one.name)
                booked[key] = max(self._free.get(key, 0), now) + one.step
                late = booked[key] - now - one.step * one.most
                if late > one.step * one.waiting:
                    return one, 0.0
                wait = max(wait, late)
            self._free |= booked
        return None, wait / 1_000_000


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
