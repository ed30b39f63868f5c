"""What every test may ask for: real servers, fresh databases, the environment, a browser.

Servers are started on first use, once in each xdist worker, and the fixtures hand them out alive
and empty, whatever the test before did to them.
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest

from tests.browsers import chromium
from tests.canary import Canary, canary
from tests.relay import Relay
from tests.servers import PostgreSQL, Redis
from tests.service import Service, contract

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a skipped test is a failed one."""
    return _no_skip((yield), item.nodeid)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """In CI a skipped module is a failed one."""
    return _no_skip((yield), collector.nodeid)


def _no_skip(report: Report, name: str) -> Report:
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{name} was skipped; in CI nothing is: {report.longrepr}"
    return report


@pytest.fixture(autouse=True)
def silence() -> Iterator[Canary]:
    """See that no test makes us log an address."""
    with canary() as listening:
        yield listening
    assert not listening.heard, "an address is in the log"


class Databases:
    """Hands out migrated databases quickly: copies of one that was migrated once."""

    def __init__(self, folder: Path, request: pytest.FixtureRequest) -> None:
        self._folder = folder
        self._request = request
        self._numbers = itertools.count(1)
        self._migrated: set[str] = set()

    @contextmanager
    def fresh(self, kind: str) -> Iterator[str]:
        """Give the URL of a new database of that kind, `sqlite` or `postgresql`."""
        name = f"test_{next(self._numbers)}"
        with self._sqlite(name) if kind == "sqlite" else self._postgresql(name) as url:
            yield url

    @contextmanager
    def _sqlite(self, name: str) -> Iterator[str]:
        template = self._folder / "template.sqlite3"
        self._migrate("sqlite", f"sqlite:///{template}")
        copy = self._folder / name / "mailer.sqlite3"
        copy.parent.mkdir()
        shutil.copy(template, copy)
        try:
            yield f"sqlite:///{copy}"
        finally:
            shutil.rmtree(copy.parent)

    @contextmanager
    def _postgresql(self, name: str) -> Iterator[str]:
        server: PostgreSQL = self._request.getfixturevalue("postgresql_server")
        server.start()
        if "postgresql" not in self._migrated:
            server.create_database("migrated")
        self._migrate("postgresql", server.url("migrated"))
        try:
            yield server.create_database(name, "migrated")
        finally:
            server.start()
            server.drop_database(name)

    def _migrate(self, kind: str, url: str) -> None:
        from mailer.storage.migrations import upgrade  # noqa: PLC0415 - servers test without it

        if kind not in self._migrated:
            upgrade(url)
            self._migrated.add(kind)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgreSQL]:
    """The PostgreSQL of this worker; a test that does things to it asks for `postgresql`."""
    with PostgreSQL.running() as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Redis]:
    """The Redis of this worker; a test asks for `redis`."""
    with Redis.running() as server:
        yield server


@pytest.fixture(scope="session")
def relay_server() -> Iterator[Relay]:
    """The scriptable SMTP server of this worker; a test asks for `relay`."""
    with Relay.running() as relay:
        yield relay


@pytest.fixture
def postgresql(postgresql_server: PostgreSQL) -> Iterator[PostgreSQL]:
    """The PostgreSQL of this worker, running, to be killed and frozen at will."""
    postgresql_server.start()
    yield postgresql_server
    postgresql_server.start()


@pytest.fixture
def redis(redis_server: Redis) -> Iterator[Redis]:
    """An empty Redis, to be killed and frozen at will."""
    redis_server.start()
    redis_server.flush()
    yield redis_server
    redis_server.start()


@pytest.fixture
def relay(relay_server: Relay) -> Iterator[Relay]:
    """A scriptable, recording SMTP server that has received nothing yet."""
    relay_server.reset()
    yield relay_server
    relay_server.reset()


@pytest.fixture(scope="session")
def databases(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Databases:
    """Where fresh databases come from."""
    return Databases(tmp_path_factory.mktemp("databases"), request)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, databases: Databases) -> Iterator[str]:
    """A fresh, migrated database; every test that asks for it runs on both kinds."""
    with databases.fresh(request.param) as url:
        yield url


@pytest.fixture
def environment(database_url: str, redis: Redis, relay: Relay) -> dict[str, str]:
    """The contract's environment for one test."""
    return contract(database_url=database_url, redis_url=redis.url, smtp_url=relay.url)


@pytest.fixture(scope="module")
def own_settings() -> dict[str, str]:
    """What a module wants of its `service` beside the contract; nothing, unless it says so."""
    return {}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def service(
    request: pytest.FixtureRequest,
    databases: Databases,
    redis_server: Redis,
    relay_server: Relay,
    own_settings: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Service]:
    """The whole service, running, one for all tests of a module, on both kinds of database."""
    redis_server.start()
    relay_server.reset()
    with databases.fresh(request.param) as url:
        variables = contract(
            database_url=url, redis_url=redis_server.url, smtp_url=relay_server.url
        )
        folder = tmp_path_factory.mktemp("service")
        with Service.running(variables | own_settings, folder) as running:
            yield running


# One for a module, not for the session: as long as Playwright runs, its event loop counts as
# running in this thread, and no other test could call asyncio.run().
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A real Chromium."""
    with chromium() as running:
        yield running


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page in a browser context of its own."""
    with browser.new_context() as context:
        yield context.new_page()
