"""A row of the table of relays: how one misbehaves, to how many, and what it may cost."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from tests.support.misbehaviour import Rule
from tests.support.relay_process import RelayProcess

if TYPE_CHECKING:
    from tests.relays.trial import Measured, RelayTrial

LONG = bool(os.environ.get("RELAYS_REPORT"))
"""Whether this is `make relays`: every row, measured, and a report."""
Database = Literal["postgresql", "sqlite"]
FACTOR, SECONDS, SECONDS_OF_FEW, FEW = 1.3, 3.0, 1.0, 0.01
"""How much longer a release may take: so many times as long, and so many seconds more."""


@dataclass(frozen=True)
class Row:
    """One behaviour of a relay, and the release that it is tried on."""

    number: int
    case: str
    """The case that it comes from, such as R33."""
    name: str
    play: Callable[[RelayTrial], Measured]
    rules: tuple[Rule, ...] = ()
    limits: str = ""
    """The lines that a real mail server's configuration has in addition."""
    sick: str = ""
    """A regular expression for the recipients that a real mail server does not take."""
    relay_class: type[RelayProcess] = RelayProcess
    followers: int = 300
    domains: int = 7
    workers: int = 1
    database: Database = "sqlite"
    connections: int = 16
    allowed: int = 0
    """How many connections the relay takes; the plain release has no more than these."""
    copies: int = 1
    """The most copies that somebody may get."""
    beside: float = 0.0
    """Seconds for what the relay itself waits."""
    silence: float = 0.0
    """For how many seconds one recipient of a silent relay is waited for, over all attempts."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """What the service is set to besides."""
    until_done: bool = False
    """Whether `done` is waited for, and not only that everybody healthy has it."""
    takes: float = 0.0
    """How many messages a second a relay that throttles takes, on average."""
    watched: float = 0.0
    """For how many seconds it is watched."""
    timed: bool = True
    """Whether it has to be nearly as fast as the plain release."""
    short: bool = False
    """Whether `make test` plays it, with few followers."""

    @property
    def size(self) -> int:
        """How many followers there are this time."""
        return self.followers if LONG else min(self.followers, 300)

    @property
    def odd(self) -> tuple[Rule, ...]:
        """The rules that are for some recipients only, always the same ones."""
        return tuple(
            one
            for one in self.rules
            if (one.share < 1 or one.whom) and not one.chance and one.stage != "mail"
        )

    def is_sick(self, address: str) -> bool:
        """Tell whether the relay does not take this recipient."""
        return bool(self.sick and re.search(self.sick, address)) or any(
            rule.picks(address) for rule in self.odd
        )

    def may_be_refused(self, address: str, enhanced: str = "") -> bool:
        """Tell whether the relay refuses this recipient for good, with such an enhanced code."""
        by_rule = any(
            rule.picks(address) and rule.reply.startswith("5") and enhanced in rule.reply
            for rule in self.rules
        )
        return by_rule or (not enhanced and bool(self.sick and re.search(self.sick, address)))

    @property
    def most_connections(self) -> int:
        """How many connections may be open: some are silent, and each has another beside it."""
        limit = self.settings.get("MAILER_RELAY_CONNECTIONS")
        return int(limit) if limit else 2 * self.connections * self.workers

    @property
    def least_taken(self) -> float:
        """How much of what a throttle takes it has to be sent at least."""
        return 0.6 if self._is_slow else 0.85

    @property
    def most_throttled(self) -> float:
        """Which share of the answers after the first minute may be a throttle's."""
        return 0.1 if self._is_slow else 0.05

    @property
    def _is_slow(self) -> bool:
        """Whether a throttle takes one message in some seconds, and not some in a minute."""
        return self.takes < 1 and all(rule.beyond == 1 for rule in self.rules)

    def bound(self, plain: float, sick: int) -> float:
        """Give the seconds that the release may take."""
        few = 0 < sick < FEW * self.size
        more = (SECONDS_OF_FEW if few else SECONDS) + self.beside
        usual = min(self.connections * self.workers, self.most_connections)
        return plain * FACTOR + more + sick * self.silence / usual

    def __str__(self) -> str:
        words = re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")
        return f"row{self.number:02}-{words}-{self.database}"
