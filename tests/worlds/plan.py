"""The plan of a world: who follows, how the relay is, and what happens when."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace
from itertools import combinations

OF_ROOMS = ("publish", "schedule", "hold", "correct", "retract", "pause", "stop", "resume", "retry")
OF_PEOPLE = ("leave", "come_back", "erase", "sign_up")
OF_MACHINES = (
    *("kill", "kill_at_dot", "freeze", "lose_lease", "cut", "deploy", "turn_clock"),
    *("database_away", "lost_commit", "read_only", "redis_away"),
)
OF_RELAY = (
    *("refusing", "away", "silent", "closing", "flaky"),
    *("throttling", "greylisting", "few_connections"),
)
"""Moods of the relay: what it does to everybody for some time."""
KINDS = (*OF_ROOMS, *OF_PEOPLE, *OF_MACHINES, *OF_RELAY)

_HOUR = 3600.0
_SOON, _LATE = _HOUR, 12 * _HOUR
_MOST, _MANY, _FEW = 500, 100, 20
"""Followers: half of the worlds have few, and most others not many."""
_SICK = 8
"""Recipients who are sick at most: each is tried for two days."""
PAIRS = tuple(combinations(KINDS, 2))
"""The worlds of as many seeds as there are pairs have each pair of kinds at least once."""
_OF_MOMENTS = frozenset({"leave", "lose_lease", "pause", "stop", "flaky"})
"""Those that find nothing to be done to once a release is sent, which may take no second."""
_NEEDS = {"resume": "pause", "retry": "flaky", "lose_lease": "publish"}
"""What has to happen before an event that would find nothing to be done to, which it often does."""


@dataclass(frozen=True, slots=True)
class Event:
    """What happens at a second; `who` picks a release, a person or a worker of those there are."""

    at: float
    kind: str
    who: int = 0
    length: float = 0.0
    """Seconds, of what lasts: a mood, a clock's error, a database that is away."""


@dataclass(frozen=True, slots=True)
class Plan:
    """All that makes a world; whatever is drawn while it is played is drawn from its seed."""

    seed: int
    followers: int
    domains: int = 1
    rooms: int = 1
    workers: int = 1
    connections: int = 2
    delay: float = 0.0
    """Seconds before each answer of the relay."""
    sick: float = 0.0
    """The share of recipients whom the relay answers at random, each time anew and for ever."""
    sweep_seconds: int = 10
    events: tuple[Event, ...] = (Event(0.0, "publish"),)

    @property
    def addresses(self) -> list[str]:
        """The addresses of the followers."""
        return [address(one, self.domains) for one in range(self.followers)]

    @property
    def healthy_from(self) -> float:
        """From when on the relay takes everybody but the sick."""
        return max((one.at + one.length for one in self.events if one.kind in OF_RELAY), default=0)


def address(number: int, domains: int) -> str:
    """Return the address of a person."""
    return f"person{number:03}@domain{number % domains}.example"


def drawn(seed: int) -> Plan:
    """Draw the world of a seed."""
    draw = random.Random(seed)
    few = draw.random() < 0.6
    most = _MOST if draw.random() < 0.1 else _MANY
    followers = draw.randint(1, _FEW - 1) if few else _log_uniform(draw, _FEW, most)
    pair = PAIRS[seed % len(PAIRS)]
    plan = Plan(
        seed,
        int(followers),
        domains=draw.choice((1, 3, 20)),
        rooms=draw.choice((1, 1, 2, 3)),
        workers=draw.choice((1, 1, 2, 3)),
        connections=draw.choice((1, 2, 8)),
        delay=draw.choice((0.0, 0.01, 0.1, 1.0)),
        sick=min(0.3 if "retry" in pair else draw.choice((0.0, 0.02, 0.3)), _SICK / followers),
        sweep_seconds=draw.choice((20, 60, 60)),
    )
    busy = max(10.0, 4 * plan.delay * plan.followers / (plan.connections * plan.workers))
    kinds = [*pair, *draw.choices((*KINDS, *_NEEDS, "retry"), k=draw.randint(0, 5))]
    kinds += [_NEEDS[one] for one in kinds if one in _NEEDS]
    events = [Event(0.0, "publish"), *(_event(draw, one, busy) for one in kinds)]
    return replace(plan, events=tuple(sorted(events, key=lambda one: one.at)))


def _event(draw: random.Random, kind: str, busy: float) -> Event:
    """Draw when an event is, mostly while the first release is sent."""
    early = draw.random() < 0.6
    at = draw.uniform(0, busy) if early else _log_uniform(draw, 1.0, _some_time(draw))
    if kind in _OF_MOMENTS and early:
        at = draw.uniform(0, 0.1)
    length = _log_uniform(draw, 1.0, _some_time(draw))
    return Event(round(at, 3), kind, draw.randrange(1000), round(length, 3))


def _some_time(draw: random.Random) -> float:
    return _LATE if draw.random() < 0.15 else _SOON


def _log_uniform(draw: random.Random, least: float, most: float) -> float:
    return math.exp(draw.uniform(math.log(least), math.log(most)))
