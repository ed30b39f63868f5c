"""The adaptive rate that all sending processes share through Redis, and what it is made of."""

from __future__ import annotations

from typing import NamedTuple, cast

from redis import RedisError

from mailer.storage.queues import quick_connection

_KEY = "mailer:adaptive-rate"
_SLOWEST, _FASTEST = 0.001, 1_000_000.0
_NOT_OURS = "Redis holds a rate that is not ours."
_KEPT_SECONDS = 600
"""How long a rate outlives the processes that keep to it."""

# One process sets the rate; it takes over what was answered to the others meanwhile.
_SCRIPT = """
local names = {'number', 'accepted', 'throttled', 'turns', 'slow_starts'}
local found = {0, 0, 0, 0, 0}
for index, name in ipairs(names) do
    if ARGV[1] == '1' then
        found[index] = tonumber(redis.call('HGET', KEYS[1], name) or 0)
        redis.call('HDEL', KEYS[1], name)
    else
        redis.call('HINCRBY', KEYS[1], name, ARGV[2 + index])
    end
end
if ARGV[1] == '1' then
    if ARGV[2] ~= '' and found[5] == 0 then
        redis.call('HSET', KEYS[1], 'rate', ARGV[2], 'rising', ARGV[9])
    end
elseif tonumber(ARGV[7]) > 0 then
    -- Until the process that sets the rate hears of the slow start.
    redis.call('HSET', KEYS[1], 'rate', '1', 'rising', '1')
end
redis.call('EXPIRE', KEYS[1], ARGV[8])
table.insert(found, redis.call('HGET', KEYS[1], 'rising') or '0')
table.insert(found, redis.call('HGET', KEYS[1], 'rate') or '0')
return found
"""


class Answers(NamedTuple):
    """Answers to messages: how many, how many accepted, and how many may be a throttle's."""

    number: int = 0
    accepted: int = 0
    throttled: int = 0
    turns: int = 0
    """How often an answer was of another kind than the one before it."""

    def plus(self, other: Answers) -> Answers:
        """Return the sum."""
        return Answers(*map(sum, zip(self, other, strict=True)))


class SharedRate(NamedTuple):
    """What Redis gives for what it is told."""

    others: Answers
    """What was answered to other processes, for the one that sets the rate."""
    slow_starts: int
    """How often others asked to begin slowly."""
    rising: bool
    """Whether the rate is on its way up, and not one that an experiment has found."""
    rate: float | None
    """Messages a second of all processes together; None if nothing is held back."""


class SharedAdaptiveRate:
    """Exchanges answers and the rate with the other processes; each call is one round trip."""

    def __init__(self, redis_url: str) -> None:
        self._script = quick_connection(redis_url).register_script(_SCRIPT)

    def ask(self) -> SharedRate:
        """Take what was answered to the others, and leave the rate as it is; raises RedisError."""
        return self._run(sets=True, rate="")

    def set(self, rate: float | None, *, rising: bool) -> SharedRate:
        """Set the rate, and take what was answered to the others; raises RedisError."""
        return self._run(sets=True, rate=repr(rate or 0.0), rising=rising)

    def tell(self, answers: Answers, slow_starts: int) -> SharedRate:
        """Tell what was answered here to the process that sets the rate; raises RedisError."""
        return self._run(sets=False, told=(*answers, slow_starts))

    def _run(
        self,
        *,
        sets: bool,
        rate: str = "",
        rising: bool = False,
        told: tuple[int, ...] = (0, 0, 0, 0, 0),
    ) -> SharedRate:
        arguments: list[int | str] = [int(sets), rate, *told, _KEPT_SECONDS, int(rising)]
        found = self._script(keys=[_KEY], args=arguments)
        try:
            *counts, text = cast("list[int | bytes]", found)
            *answers, slow_starts, rises = map(int, counts)
            others, kept = Answers(*answers), float(text) or None
        except (ValueError, TypeError):
            raise RedisError(_NOT_OURS) from None
        if min(others) < 0 or not (kept is None or _SLOWEST <= kept <= _FASTEST):
            raise RedisError(_NOT_OURS)
        return SharedRate(others, slow_starts, rises > 0, kept)
