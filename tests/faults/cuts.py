"""Cuts: a release that two worker hosts send, while one of them is cut off from something."""

from __future__ import annotations

import os
import random
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.exc import DBAPIError

from mailer.fanout.batches import claim
from mailer.storage.database import upgrade, writing
from tests.faults.hosts import Host, Network
from tests.faults.trial import Trial, followers
from tests.processes import eventually
from tests.servers import EVERYWHERE, LOOPBACK, PostgreSQL, Redis, Sink, sink
from tests.service import Service, application, contract

CONNECTIONS = 24
LONG = "FAULTS_FOLLOWERS" in os.environ
LEASE_SECONDS, CUT_SECONDS = (30, 90) if LONG else (3, 10)
_WORKERS = ("letters", "releases", "sweep")
# A second before each body, so that one host alone does not reach the end during a cut.
_SLOW = ("-w", "1", "-t", "600")
_PACE = {
    "MAILER_CONNECTIONS": str(CONNECTIONS),
    "MAILER_LEASE_SECONDS": str(LEASE_SECONDS),
    "MAILER_SWEEP_SECONDS": "1",
}


@dataclass(frozen=True)
class Figures:
    """What one cut did."""

    row: str
    database: str
    lost: int
    duplicates: int
    bound: int
    seconds_to_resume: float
    """From the end of the cut until the host that was cut off has sent again."""
    seed: str

    def __str__(self) -> str:
        return (
            f"{self.row} | {self.database} | {self.lost} | {self.duplicates} | {self.bound} | "
            f"{self.seconds_to_resume:.1f} | {self.seed}"
        )


class HostsTrial(Trial):
    """A trial on four hosts: two with workers, the database's with Redis and web, the relay's."""

    def __init__(
        self, web: Service, box: Sink, network: Network, environment: dict[str, str]
    ) -> None:
        super().__init__(web, box, followers())
        self._environment = environment
        self.seed = os.environ.get("FAULTS_SEED") or secrets.token_hex(4)
        self.chance = random.Random(self.seed)
        self.box = box
        self.network = network
        *workers, self.database, self.relay = network.hosts
        self.victim = self.chance.choice(workers)

    @classmethod
    @contextmanager
    def on_hosts(cls, folder: Path) -> Iterator[HostsTrial]:
        """Set up everything on four hosts, with followers; this thread is the database's host."""
        with ExitStack() as stack:
            network = stack.enter_context(Network.of("first", "second", "database", "relay"))
            *workers, database, relay = network.hosts
            with relay.entered():
                box = stack.enter_context(sink(*_SLOW, record=True, listen=EVERYWHERE))
            stack.enter_context(database.entered())
            postgresql = stack.enter_context(PostgreSQL.running(EVERYWHERE))
            redis = stack.enter_context(Redis.running(EVERYWHERE))
            url = postgresql.create_database("mailer")
            upgrade(url)
            here = _PACE | contract(
                database_url=url,
                redis_url=redis.url,
                smtp_url=box.url.replace(LOOPBACK, relay.address),
            )
            there = _seen_from_elsewhere(here, database)
            web = stack.enter_context(Service.running(here, _folder(folder, "web"), ("web",)))
            trial = cls(web, box, network, there)
            trial._open_press_room()
            for host in workers:
                with host.entered():
                    place = _folder(folder, host.name)
                    stack.enter_context(Service.running(there, place, _WORKERS))
            yield trial

    def suffer(self, row: str, cut: AbstractContextManager[None], *, claiming: bool) -> Figures:
        """Publish, cut at a random moment, mend it after a while, and count when all is done.

        Whoever is cut off from the database may send what was in hand, and that is all; with
        `claiming`, it is also in the middle of a claim. The others must reach the middle of the
        release before the cut ends.
        """
        self.publish()
        self.until_accepted(self.chance.randrange(1, self.number // 4))
        with self._claiming() if claiming else nullcontext():
            with cut:
                sent = self._sent_during_cut()
            mended_at = time.monotonic()
            assert self.receipt()["state"] == "sending", "the cut is to end before the release does"
            self._until(
                lambda: self.sent_by_victim() > sent or self.receipt()["state"] == "done",
                "the host sends again",
            )
            resumed_at = time.monotonic()
            assert self.sent_by_victim() > sent, "the others finished before it came back"
            receipt = self.until_done()
        return self._figures(row, receipt, resumed_at - mended_at)

    def sent_by_victim(self) -> int:
        """Count what the relay has taken from the host that is cut off."""
        return self.box.headers("X-Client-Addr").count(self.victim.address)

    def _sent_during_cut(self) -> int:
        """Follow a cut to its end, and count what the host had sent until then."""
        self._watch(LEASE_SECONDS)
        when_the_lease_ended = self.sent_by_victim()
        self._watch(CUT_SECONDS - LEASE_SECONDS)
        self.until_accepted(self.number // 2)
        sent = self.sent_by_victim()
        assert sent == when_the_lease_ended, "nothing leaves after the lease"
        return sent

    @contextmanager
    def _claiming(self) -> Iterator[None]:
        """Stand on the victim in the middle of a claim, with its locks.

        The server would wait for the end of such a transaction for hours.
        """
        with ExitStack() as stack:
            with self.victim.entered():
                stack.enter_context(application(self._environment))
                stack.enter_context(suppress(DBAPIError))
                session = stack.enter_context(writing())
                assert claim(session, LEASE_SECONDS) is not None, "a batch was free"
            yield

    def _watch(self, seconds: float) -> None:
        """Follow the receipt for a while."""
        until = time.monotonic() + seconds
        self._until(lambda: time.monotonic() >= until, "the end of the cut")

    def _until(self, condition: Callable[[], object], message: str) -> None:
        """Wait for something; every look checks that the receipt balances."""
        eventually(lambda: self.receipt() and condition(), message, patience=300)

    def _figures(self, row: str, receipt: dict[str, Any], seconds: float) -> Figures:
        count = self.count()
        assert receipt["accepted"] == receipt["total"] == self.number, receipt
        assert len(count.times) == count.message_ids == self.number
        assert all(self.uncertain(address) for address in count.doubled)
        return Figures(
            row,
            "postgresql",
            lost=self.number - len(count.times),
            duplicates=count.duplicates,
            bound=CONNECTIONS,
            seconds_to_resume=seconds,
            seed=self.seed,
        )


def _seen_from_elsewhere(environment: dict[str, str], database: Host) -> dict[str, str]:
    """Give the environment on another host, where the database's is not on loopback."""
    names = ("DATABASE_URL", "REDIS_URL")
    return environment | {
        name: environment[name].replace(LOOPBACK, database.address) for name in names
    }


def _folder(parent: Path, name: str) -> Path:
    folder = parent / name
    folder.mkdir()
    return folder
