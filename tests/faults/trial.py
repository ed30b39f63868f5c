"""A trial: a release to many followers, whatever happens to the processes, and the count."""

from __future__ import annotations

import json
import os
import random
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from mailer.domain import publishers
from mailer.domain.followers import import_followers
from tests.processes import eventually
from tests.servers import Sink, sink
from tests.service import NAMES, Service, application, contract

CONNECTIONS = 8
QUICK = {
    "MAILER_CONNECTIONS": str(CONNECTIONS),
    "MAILER_LEASE_SECONDS": "3",
    "MAILER_SWEEP_SECONDS": "1",
}
"""The same protocol with a shorter breath, so that a trial takes seconds."""


def followers() -> int:
    """Give the size of a trial; `make faults` plays larger ones than `make test`."""
    return int(os.environ.get("FAULTS_FOLLOWERS", "600"))


@dataclass(frozen=True)
class Count:
    """What the sink saw: how often each recipient got the release."""

    times: Counter[str]
    message_ids: int

    @property
    def duplicates(self) -> int:
        """How many messages arrived that had arrived before."""
        return self.times.total() - len(self.times)

    @property
    def doubled(self) -> list[str]:
        """Who got it more than once."""
        return [address for address, times in self.times.items() if times > 1]


class Trial:
    """One release on its way to everyone, and the means to follow it."""

    def __init__(self, service: Service, box: Sink, number: int) -> None:
        self.service = service
        self.number = number
        self._box = box
        self._key = ""
        self._receipt_url = ""
        self.chance = random.Random(os.environ.get("FAULTS_SEED") or random.SystemRandom().random())

    @classmethod
    @contextmanager
    def running(
        cls, database_url: str, redis_url: str | None, folder: Path, number: int
    ) -> Iterator[Self]:
        """Set up the service, a sink that records, and a press room with followers."""
        with sink(record=True) as box:
            variables = QUICK | contract(
                database_url=database_url, redis_url=redis_url or "", smtp_url=box.url
            )
            with Service.running(variables, folder, NAMES) as service:
                trial = cls(service, box, number)
                trial._open_press_room()
                yield trial

    def publish(self) -> None:
        """Publish one release to everyone."""
        body = {
            "reference": "trial",
            "language": "nb",
            "title": "Det store forsøket",
            "body_html": "<p>Alle skal ha dette, én gang.</p>",
            "published_at": datetime.now(UTC).isoformat(),
        }
        answer = self._call("/api/v1/releases", json.dumps(body).encode())
        self._receipt_url = answer["links"]["receipt"]

    def receipt(self) -> dict[str, Any]:
        """Read the receipt, which balances at every moment."""
        receipt: dict[str, Any] = self._call(self._receipt_url)
        parts = ("accepted", "refused", "skipped", "deferred", "waiting")
        assert receipt["total"] == sum(receipt[part] for part in parts), receipt
        assert all(receipt[part] >= 0 for part in parts), receipt
        return receipt

    def until_accepted(self, number: int) -> None:
        """Wait until so many are accepted, or all is done; every look checks the balance."""

        def reached() -> bool:
            receipt = self.receipt()
            return bool(receipt["accepted"] >= number or receipt["state"] == "done")

        eventually(reached, f"{number} accepted", patience=300)

    def until_done(self) -> dict[str, Any]:
        """Wait for the end, and return the final receipt."""
        eventually(lambda: self.receipt()["state"] == "done", "done", patience=300)
        return self.receipt()

    def uncertain(self, address: str) -> bool:
        """Ask whether the receipt says of somebody that they may have it twice."""
        query = urllib.parse.urlencode({"address": address})
        fate = self._call(self._receipt_url.replace("/receipt", f"/recipients?{query}"))
        return bool(fate["uncertain"])

    def moments(self, number: int) -> list[int]:
        """Draw so many random moments, each a number of accepted recipients, in order."""
        return sorted(self.chance.sample(range(1, self.number), number))

    def count(self) -> Count:
        """Count what arrived."""
        return Count(
            Counter(one.strip("<>") for one in self._box.headers("X-Rcpt-Args")),
            len(set(self._box.headers("Message-ID"))),
        )

    def _open_press_room(self) -> None:
        with application(self.service.environment):
            self._key = publishers.add(
                publishers.PublisherDraft("forsok", "Forsøket", "presse@example.org", "nb")
            )
            lines = (f"p{one}@d{one % 7}.example.org\n" for one in range(self.number))
            report = import_followers("forsok", ["address\n", *lines], locales=("nb",))
        assert report.added == self.number

    def _call(self, path: str, body: bytes | None = None) -> Any:
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.service.url + path, body, headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)
