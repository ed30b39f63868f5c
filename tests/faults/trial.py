"""A trial: releases to many followers, whatever happens to the processes, and the count."""

from __future__ import annotations

import os
import random
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from mailer.domain import publishers
from mailer.domain.followers.follower_csv import import_followers
from tests.disks import SmallDisk
from tests.faults.relay_process import Count, RelayProcess
from tests.processes import Process, eventually
from tests.servers import PostgreSQL, Redis
from tests.service import Service, application, complete, contract
from tests.support.publishing_system import PublishingSystem

LONG = bool(os.environ.get("FAULTS_REPORT"))
"""Whether this is `make faults`: every fault many times, and a report."""
CONNECTIONS = 8
NAMES = ("web", "releases", "sweep")
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
_SLUG = "forsok"
_PATIENCE_SECONDS = 180


def followers() -> int:
    """Give the size of a trial; `make faults` plays larger ones than `make test`."""
    return int(os.environ.get("FAULTS_FOLLOWERS", "600"))


@dataclass(frozen=True)
class Parts:
    """What a trial is made of, beside the service itself."""

    database_url: str
    folder: Path
    redis: Redis
    postgresql: PostgreSQL | None
    """The server of `database_url`, if it is not SQLite."""
    disk: SmallDisk | None = None
    """Where the database alone lies, for the fault that fills it."""


@dataclass
class Story:
    """What has happened in a trial so far."""

    published: list[int] = field(default_factory=list)
    strikes: int = 0
    pauses: list[float] = field(default_factory=list)
    """Seconds from the end of each injection to the next accepted message."""
    left: dict[str, float] = field(default_factory=dict)
    """Who left in the middle, and when; they may get it or not."""
    figures: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """What else somebody may want to know, by its unit."""


class Trial:
    """Releases on their way to everyone, and the means to disturb and to follow them."""

    def __init__(
        self, parts: Parts, service: Service, relay: RelayProcess, seed: str, number: int
    ) -> None:
        self.parts = parts
        self.service = service
        self.relay = relay
        self.story = Story()
        self.chance = random.Random(seed)
        self.number = number
        self.people = {f"p{one}@d{one % 7}.example.org" for one in range(number)}
        self.publishing = PublishingSystem(service.url, self._open_press_room())
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
        with relay_class.open(parts.folder, seed, DELAY) as relay:
            places = contract(
                database_url=parts.database_url, redis_url=parts.redis.url, smtp_url=relay.url
            )
            variables = {**places, **QUICK, **settings}
            with Service.running(variables, parts.folder, NAMES) as service:
                yield cls(parts, service, relay, seed, number)

    @property
    def release(self) -> int:
        """The id of the newest release."""
        return self.story.published[-1]

    def reference(self) -> str:
        """Name the release that is to be published next."""
        return f"trial-{len(self.story.published) + 1}"

    def publish(self) -> None:
        """Publish one more release to everyone."""
        self.story.published.append(self.publishing.publish(self.reference())["id"])

    def receipt(self) -> dict[str, Any]:
        """Read the receipt of the newest release, which balances."""
        return self.publishing.receipt(self.release)

    def until_accepted(self, number: int) -> bool:
        """Wait until so many are accepted; False if it is done before. Every look is a check."""

        def reached() -> str:
            receipt = self.receipt()
            if receipt["state"] == "done":
                return "done"
            return "reached" if receipt["accepted"] >= number else ""

        return eventually(reached, f"{number} accepted", _PATIENCE_SECONDS) == "reached"

    def until_done(self) -> dict[str, Any]:
        """Wait for the end of the newest release, and return its final receipt."""
        eventually(lambda: self.receipt()["state"] == "done", "done", _PATIENCE_SECONDS)
        return self.receipt()

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

        if eventually(goes_on, "it goes on", _PATIENCE_SECONDS) == "resumed":
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
        return self.relay.count(self.people - set(self.story.left), len(self.story.published))

    def unannounced(self, doubled: set[str]) -> set[str]:
        """Give those who got something twice and whom no receipt says to be uncertain."""
        return {
            one
            for one in doubled
            if not any(
                self.publishing.recipient(release, one)["uncertain"]
                for release in self.story.published
            )
        }

    def colleague(self, **more: str) -> None:
        """Start a second worker for releases beside the first."""
        environment = complete({**self.service.environment, **more})
        command = [str(Path(sys.executable).with_name("mailer")), "worker", "releases"]
        log = self.parts.folder / "colleague.log"
        self.service.processes["colleague"] = Process(command, log, environment=environment)
        self.service.start("colleague")

    def horses(self) -> list[int]:
        """Wait for the processes that send; without Redis a worker does it by itself."""
        running = self.service.processes
        workers = [running[name] for name in ("releases", "colleague") if name in running]
        if not self.parts.redis.process.running:
            return [worker.pid for worker in workers]
        return eventually(lambda: [one for worker in workers for one in worker.children], "a horse")

    def _open_press_room(self) -> str:
        with application(self.service.environment):
            key = publishers.add(
                publishers.PublisherDraft(_SLUG, "Forsøket", "presse@example.org", "nb")
            )
            lines = (f"{one}\n" for one in sorted(self.people))
            report = import_followers(_SLUG, ["address\n", *lines], locales=("nb",))
        assert report.added == self.number
        return key
