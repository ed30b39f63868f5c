"""A row of the table of faults: what is done, how often, and how many duplicates it may cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Literal

from tests.faults.trial import CONNECTIONS, LONG, Story, Trial, followers
from tests.support.relay_process import RelayProcess

Database = Literal["postgresql", "sqlite"]
BOTH: tuple[Database, ...] = ("postgresql", "sqlite")
POSTGRESQL: tuple[Database, ...] = ("postgresql",)
SQLITE: tuple[Database, ...] = ("sqlite",)


@dataclass(frozen=True)
class Bound:
    """How many duplicates a fault may cost."""

    formula: str
    most: Callable[[Story], int]

    def holds(self, story: Story, duplicates: int) -> bool:
        """Tell whether so many are within the bound."""
        return duplicates <= self.most(story)


NONE = Bound("0", lambda _: 0)
CONNECTIONS_EACH = Bound(
    f"{CONNECTIONS} connections × injections", lambda story: CONNECTIONS * story.strikes
)
# One fewer for each recipient whose second answer is lost as well: no third copy is sent.
LOST_ANSWERS = Bound("lost answers", lambda story: story.strikes)


def _nothing(_trial: Trial) -> None:
    """Do nothing special."""


def _all_is_well(_trial: Trial) -> AbstractContextManager[None]:
    """Let nothing be the matter all the time."""
    return nullcontext()


@dataclass(frozen=True)
class Fault:
    """One row: a fault, how it is injected, and what it may cost."""

    number: int
    name: str
    injected: str
    bound: Bound
    inject: Callable[[Trial], None] | None = None
    """Done at random moments while a release goes out."""
    publish: Callable[[Trial], None] = Trial.publish
    """Publishes, where the fault is in the publishing or the freeze."""
    during: Callable[[Trial], AbstractContextManager[None]] = _all_is_well
    """What is the case all the time."""
    afterwards: Callable[[Trial], None] = _nothing
    """What is done or seen after each release is done."""
    databases: tuple[Database, ...] = BOTH
    settings: Mapping[str, str] = field(default_factory=dict)
    short: int = 1
    long: int = 20
    """How many injections at least, in `make test` and in `make faults`; 0 leaves it out."""
    crowd: int = 1_000_000
    """The most followers that make sense."""
    alike: bool = False
    """Whether the database has no part in it; `make test` then plays it on one kind alone."""
    trial: type[Trial] = Trial
    relay_class: type[RelayProcess] = RelayProcess
    redis: bool = True
    small_disk: bool = False

    @property
    def times(self) -> int:
        """How many injections there are at least."""
        return self.long if LONG else self.short

    @property
    def played_on(self) -> tuple[Database, ...]:
        """On which databases it is played this time: in `make test`, some on one in turn."""
        if not self.times:
            return ()
        if self.alike and not LONG:
            return (self.databases[self.number % len(self.databases)],)
        return self.databases

    @property
    def followers(self) -> int:
        """How many followers each release has."""
        return min(self.crowd, followers())

    def __str__(self) -> str:
        return f"row{self.number:02}-{self.name.lower().replace(' ', '-')}"
