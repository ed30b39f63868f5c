"""The stand: the whole service on a durable database, press rooms full of followers, a stopwatch.

It knows the service as its operators do: the Procfile, the command line, HTTP and settings.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from sqlalchemy import create_engine, text

from mailer.demo import samples
from mailer.domain import publishers
from mailer.domain.followers.follower_csv import import_followers
from mailer.storage.migrations import upgrade
from tests.benchmarks.parts import Figures
from tests.benchmarks.processor import Meter, Ran, run
from tests.processes import Process, eventually, free_port, listens
from tests.relay import Relay
from tests.servers import PostgreSQL, Redis, temporary_folder
from tests.service import NAMES, Service, application, complete, contract
from tests.support.publishing_system import PublishingSystem

SENDER = "presse@example.org"
CONNECTIONS = 16
"""As many as smtp-source opens, and as many as a worker opens if nobody says otherwise."""
MANY_CONNECTIONS = 128
"""For one relay that takes all that comes: the more there are, the fewer commits a message."""
MANY = {"MAILER_CONNECTIONS": str(MANY_CONNECTIONS)}
_PATIENCE_SECONDS = 3600
_HISTORY = 4
"""Releases before the first: a letter lists the latest four, and so all are of the same size."""
_OCTETS = {
    "sqlite": "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()",
    "postgresql": "SELECT pg_total_relation_size('batches') "
    "+ pg_total_relation_size('batch_members')",
}


@dataclass(frozen=True)
class Database:
    """A fresh, migrated database that syncs to the disk, and the process that runs it, if any."""

    kind: str
    url: str
    pid: int | None = None

    def octets(self) -> int:
        """Tell the size of the table of batches; of everything on SQLite, where it alone grows."""
        engine = create_engine(self.url)
        try:
            with engine.connect() as connection:
                return int(connection.execute(text(_OCTETS[self.kind])).scalar_one())
        finally:
            engine.dispose()


@contextmanager
def database(kind: str) -> Iterator[Database]:
    """Set up a database of that kind, `sqlite` or `postgresql`."""
    if kind == "sqlite":
        with temporary_folder() as folder:
            fresh = Database(kind, f"sqlite:///{folder}/mailer.sqlite3")
            upgrade(fresh.url)
            yield fresh
    else:
        with PostgreSQL.running(fsync=True) as server:
            fresh = Database(kind, server.create_database("mailer"), server.process.pid)
            upgrade(fresh.url)
            yield fresh


@dataclass
class BenchService:
    """The service, running, and everything a part wants to do with it."""

    service: Service
    database: Database
    redis: Redis
    folder: Path
    _keys: dict[str, str] = field(default_factory=dict)
    _published: int = 0

    @property
    def port(self) -> int:
        """Where the web process listens."""
        return urlsplit(self.service.url).port or 0

    @property
    def programs(self) -> dict[str, int]:
        """The ids of the processes that take part."""
        others = {"redis": self.redis.process.pid}
        if self.database.pid is not None:
            others["database"] = self.database.pid
        return {name: self.service.pid(name) for name in NAMES} | others

    def open(self, slug: str, number: int) -> Ran:
        """Open a press room with a history, and import its followers by the command line."""
        options = ("--name", samples.NAME, "--from", SENDER, "--json")
        self._keys[slug] = json.loads(self._mailer("publisher", "add", slug, *options).said)[
            "api_key"
        ]
        file = self.folder / f"{slug}.csv"
        with file.open("w") as lines:
            lines.write("address\n")
            lines.writelines(f"{address}\n" for address in _addresses(slug, number))
        imported = self._mailer("subscriber", "import", slug, str(file))
        assert imported.said.startswith(f"{number} added"), imported.said
        for one in range(_HISTORY):
            self.ask(slug, "/api/v1/releases", _news(f"history-{one}", notify=False))
        return imported

    def open_many(self, slugs: list[str], number: int) -> None:
        """Open press rooms with a few followers each, without a program for each."""
        with application(self.service.environment):
            for slug in slugs:
                draft = publishers.PublisherDraft(slug, samples.NAME, SENDER, "nb")
                self._keys[slug] = publishers.add(draft)
                lines = ["address", *_addresses(slug, number)]
                assert import_followers(slug, lines, locales=("nb",)).added == number

    def publish(self, slug: str) -> str:
        """Publish the sample release to a press room's followers; returns where to ask for it."""
        self._published += 1
        news = _news(f"release-{self._published}")
        path: str = self.ask(slug, "/api/v1/releases", news)["links"]["self"]
        return path

    def ask(self, slug: str, path: str, body: object = None) -> Figures:
        """Call the API for a press room."""
        return PublishingSystem(self.service.url, self._keys[slug], _PATIENCE_SECONDS).call(
            path, body
        )

    def until_done(self, slug: str, path: str) -> Figures:
        """Wait for the end of a release, at which nobody is lost; returns how it stands."""

        def done() -> Figures | None:
            # Each look costs the service, so one now and then will do: it knows when it was done.
            time.sleep(0.5)
            found = self.ask(slug, path)
            assert found["state"] in ("sending", "done"), found
            return found if found["finished_at"] else None

        found = eventually(done, f"{path} is done", patience=_PATIENCE_SECONDS)
        assert found is not None
        receipt = self.ask(slug, f"{path}/receipt")
        assert receipt["accepted"] == receipt["total"], receipt
        return found

    def send(self, slug: str, others: Mapping[str, int] | None = None) -> Figures:
        """Publish, wait for the end, and tell time, rate and processor time a mail."""
        meter = Meter({**self.programs, **(others or {})})
        began = time.time()
        found = self.until_done(slug, self.publish(slug))
        seconds = datetime.fromisoformat(found["finished_at"]).timestamp() - began
        return figures(found["accepted"], seconds, meter.read())

    def _mailer(self, *arguments: str) -> Ran:
        return mailer(*arguments, **self.service.environment)


def mailer(*arguments: str, **environment: str) -> Ran:
    """Run the command line with these settings, to its end."""
    return run([sys.executable, "-m", "mailer", *arguments], complete(environment))


def figures(number: int, seconds: float, processor: Mapping[str, float]) -> Figures:
    """Lay out one run: processor time in seconds a mail, by program, and ours together."""
    each = {name: value / number for name, value in processor.items()}
    ours = sum(each.get(name, 0) for name in NAMES)
    return {"number": number, "seconds": seconds, "rate": number / seconds, "ours": ours, **each}


@contextmanager
def bench_service(kind: str, smtp_url: str, **variables: str) -> Iterator[BenchService]:
    """Run the service on a fresh database of that kind, with these settings beside the defaults."""
    with _running(kind, smtp_url, NAMES, variables) as running:
        yield running


@contextmanager
def web_alone(kind: str, smtp_url: str, **variables: str) -> Iterator[BenchService]:
    """Run its web process only, so that nothing else has a part in what is measured."""
    with _running(kind, smtp_url, ("web",), variables) as running:
        yield running


@contextmanager
def _running(
    kind: str, smtp_url: str, names: tuple[str, ...], variables: Mapping[str, str]
) -> Iterator[BenchService]:
    with database(kind) as fresh, Redis.running() as redis, temporary_folder() as folder:
        environment = contract(database_url=fresh.url, redis_url=redis.url, smtp_url=smtp_url)
        with Service.running({**environment, **variables}, folder, names) as service:
            yield BenchService(service, fresh, redis, folder)


@contextmanager
def program(module: str, *arguments: object) -> Iterator[int]:
    """Run a program of the benchmark that listens on a port, its first argument; gives the port."""
    port = free_port()
    command = [sys.executable, "-m", f"tests.benchmarks.{module}", str(port)]
    with listening([*command, *map(str, arguments)], port):
        yield port


@contextmanager
def listening(
    command: list[str], port: int, environment: dict[str, str] | None = None
) -> Iterator[None]:
    """Run a command that listens on a port, from when it does."""
    with temporary_folder() as folder:
        running = Process(command, folder / "log", environment=environment)
        try:
            running.launch()
            running.ready(lambda: listens(port))
            yield
        finally:
            running.stop()


@cache
def sample(**variables: str) -> bytes:
    """Send the sample release to one follower, and return the message as it came over the wire."""
    with Relay.running() as relay, bench_service("sqlite", relay.url, **variables) as one:
        one.open("sample", 1)
        one.send("sample")
        return relay.received[0].content


def follower(slug: str, number: int) -> str:
    """Name one of a press room's followers."""
    return f"{slug}-{number}@followers{number % 7}.example.org"


def _news(reference: str, **more: object) -> Figures:
    """Write the sample release."""
    news = samples.news(samples.read(), "https://museum.example.org")
    return {**news, "reference": reference, "again": True, **more}


def _addresses(slug: str, number: int) -> Iterator[str]:
    return (follower(slug, one) for one in range(number))
