"""A trial: the real processes, a relay, a press room with followers, and releases to them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mailer.domain import publishers
from mailer.domain.followers.follower_csv import import_followers
from tests.disks import SmallDisk
from tests.processes import Process, eventually
from tests.servers import PostgreSQL, Redis
from tests.service import Service, application, complete, contract
from tests.support.publishing_system import PublishingSystem
from tests.support.relay_process import RelayProcess

NAMES = ("web", "releases", "sweep")
PATIENCE_SECONDS = 180
DOMAINS = 7


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


class ServiceTrial:
    """Releases on their way to everyone, and the means to follow them."""

    def __init__(
        self,
        parts: Parts,
        service: Service,
        relay: RelayProcess,
        number: int,
        domains: int = DOMAINS,
    ) -> None:
        self.parts = parts
        self.service = service
        self.relay = relay
        self.number = number
        self.people = {f"p{one}@d{one % domains}.example.org" for one in range(number)}
        self.publishing = self.open_press_room("forsok", self.people)
        self.published: list[int] = []

    @classmethod
    @contextmanager
    def serving(
        cls, parts: Parts, settings: Mapping[str, str], relay: RelayProcess
    ) -> Iterator[Service]:
        """Run the processes against this relay."""
        places = contract(
            database_url=parts.database_url, redis_url=parts.redis.url, smtp_url=relay.url
        )
        with Service.running({**places, **settings}, parts.folder, NAMES) as service:
            yield service

    @property
    def release(self) -> int:
        """The id of the newest release."""
        return self.published[-1]

    def reference(self) -> str:
        """Name the release that is to be published next."""
        return f"trial-{len(self.published) + 1}"

    def publish(self) -> None:
        """Publish one more release to everyone."""
        self.published.append(self.publishing.publish(self.reference())["id"])

    def receipt(self) -> dict[str, Any]:
        """Read the receipt of the newest release, which balances."""
        return self.publishing.receipt(self.release)

    def unanswered(self, release_id: int) -> int:
        """Return how many recipients of a release were given up after two unanswered dots."""
        skipped: dict[str, int] = self.publishing.receipt(release_id)["reasons"].get("skipped", {})
        return skipped.get("unanswered", 0)

    def until_accepted(self, number: int) -> bool:
        """Wait until so many are accepted; False if it is done before. Every look is a check."""

        def reached() -> str:
            receipt = self.receipt()
            if receipt["state"] == "done":
                return "done"
            return "reached" if receipt["accepted"] >= number else ""

        return eventually(reached, f"{number} accepted", PATIENCE_SECONDS) == "reached"

    def until_done(self) -> dict[str, Any]:
        """Wait for the end of the newest release, and return its final receipt."""
        eventually(lambda: self.receipt()["state"] == "done", "done", PATIENCE_SECONDS)
        return self.receipt()

    def start_worker(self, name: str, **more: str) -> None:
        """Start a worker for releases under this name, beside others of other names."""
        environment = complete({**self.service.environment, **more})
        command = [str(Path(sys.executable).with_name("mailer")), "worker", "releases"]
        log = self.parts.folder / f"{name}.log"
        self.service.processes[name] = Process(command, log, environment=environment)
        self.service.start(name)

    def open_press_room(self, slug: str, people: set[str]) -> PublishingSystem:
        """Add a press room with these followers, and give what publishes for it."""
        with application(self.service.environment):
            key = publishers.add(
                publishers.PublisherDraft(slug, "Forsøket", f"presse@{slug}.example.org", "nb")
            )
            lines = (f"{one}\n" for one in sorted(people))
            report = import_followers(slug, ["address\n", *lines], locales=("nb",))
        assert report.added == len(people)
        return PublishingSystem(self.service.url, key)
