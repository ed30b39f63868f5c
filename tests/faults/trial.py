"""A trial: releases to many followers, whatever happens to the processes, and the count."""

from __future__ import annotations

import os
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Self

from tests.processes import eventually
from tests.service import Service
from tests.support.relay_process import Count, RelayProcess
from tests.support.trial import PATIENCE_SECONDS, Parts, ServiceTrial

LONG = bool(os.environ.get("FAULTS_REPORT"))
"""Whether this is `make faults`: every fault many times, and a report."""
CONNECTIONS = 8
QUICK = {
    "MAILER_CONNECTIONS": str(CONNECTIONS),
    "MAILER_LEASE_SECONDS": "3",
    "MAILER_RETRY_SECONDS": "1",
    "MAILER_SWEEP_SECONDS": "1",
    "WEB_CONCURRENCY": "1",
}
"""The same protocol with a shorter breath, so that a trial takes seconds."""
DELAY = 0.005 if LONG else 0.01
"""Seconds the relay takes over a message, so that what happens, happens in the middle."""


def followers() -> int:
    """Give the size of a trial; `make faults` plays larger ones than `make test`."""
    return int(os.environ.get("FAULTS_FOLLOWERS", "600"))


@dataclass
class Story:
    """What has happened in a trial so far."""

    strikes: int = 0
    pauses: list[float] = field(default_factory=list)
    """Seconds from the end of each injection to the next accepted message."""
    left: dict[str, float] = field(default_factory=dict)
    """Who left in the middle, and when; they may get it or not."""
    figures: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """What else somebody may want to know, by its unit."""


class Trial(ServiceTrial):
    """Releases on their way to everyone, and the means to disturb and to follow them."""

    def __init__(
        self, parts: Parts, service: Service, relay: RelayProcess, seed: str, number: int
    ) -> None:
        super().__init__(parts, service, relay, number)
        self.story = Story()
        self.chance = random.Random(seed)
        self._ends: list[tuple[float, int]] = []

    @classmethod
    @contextmanager
    def running(
        cls,
        parts: Parts,
        settings: Mapping[str, str],
        seed: str,
        number: int,
        relay_class: type[RelayProcess] = RelayProcess,
    ) -> Iterator[Self]:
        """Set up the service, a relay that records, and a press room with followers."""
        with (
            relay_class.open(parts.folder, seed, DELAY) as relay,
            cls.serving(parts, QUICK | dict(settings), relay) as service,
        ):
            yield cls(parts, service, relay, seed, number)

    def moments(self, number: int) -> list[int]:
        """Draw so many random moments, each a number of accepted recipients, in order."""
        number = min(number, self.number // 2)
        return sorted(self.chance.sample(range(1, self.number * 9 // 10), number))

    def strike(self, inject: Callable[[Trial], None]) -> None:
        """Do it, and measure how long it is from its end to the next accepted message."""
        self._ends.clear()
        inject(self)
        self.story.strikes += 1
        began, accepted = self._ends[-1] if self._ends else self.over()

        def goes_on() -> str:
            receipt = self.receipt()
            assert receipt["state"] != "paused", self.publishing.release(self.release)[
                "paused_because"
            ]
            if receipt["accepted"] > accepted:
                return "resumed"
            return "done" if receipt["state"] == "done" else ""

        if eventually(goes_on, "it goes on", PATIENCE_SECONDS) == "resumed":
            self.story.pauses.append(time.monotonic() - began)

    def over(self) -> tuple[float, int]:
        """Say that the injection is over and what follows is recovery; without, its return is."""
        self._ends.append((time.monotonic(), self.receipt()["accepted"]))
        return self._ends[-1]

    def last(self, seconds: float) -> None:
        """Let a fault last: here the time is not waited for, it is the fault."""
        time.sleep(seconds)

    def count(self) -> Count:
        """Count what arrived."""
        return self.relay.count(self.people - set(self.story.left), len(self.published))

    def unannounced(self, doubled: set[str]) -> set[str]:
        """Give those who got something twice and whom no receipt says to be uncertain."""
        return {
            one
            for one in doubled
            if not any(
                self.publishing.recipient(release, one)["uncertain"] for release in self.published
            )
        }

    def colleague(self, **more: str) -> None:
        """Start a second worker for releases beside the first."""
        self.start_worker("colleague", **more)

    def horses(self) -> list[int]:
        """Wait for the processes that send; without Redis a worker does it by itself."""
        running = self.service.processes
        workers = [running[name] for name in ("releases", "colleague") if name in running]
        if not self.parts.redis.process.running:
            return [worker.pid for worker in workers]
        return eventually(lambda: [one for worker in workers for one in worker.children], "a horse")
