"""What every test may ask for: real servers, fresh databases, the environment, a browser.

Servers are started on first use, once in each xdist worker, and the fixtures hand them out alive
and empty, whatever the test before did to them.
"""

from __future__ import annotations

import itertools
import os
import shutil
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest
from hypothesis import settings as hypothesis_settings

from mailer.mail import composer
from mailer.mail.composer import Composer
from tests.browsers import chromium
from tests.canary import Canary, canary
from tests.relay import Relay
from tests.servers import PostgreSQL, Redis
from tests.service import Service, contract
from tests.support.composers import compose_here, poisoned

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)

# What `--quick` leaves out, because it needs other processes: tests in one of these folders, tests
# that ask for one of these fixtures, and those marked `processes`. And those marked `slow`.
SERVERS = {"postgresql_server", "redis_server", "service", "browser"}
FOLDERS_OF_PROGRAMS = {"benchmarks", "cli", "faults", "journeys", "letters", "relays"}


# How long an example takes on a machine that is busy says nothing.
hypothesis_settings.register_profile("patient", deadline=None)
hypothesis_settings.load_profile("patient")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--quick`, by which only tests are run that are quick and need no other process."""
    parser.addoption("--quick", action="store_true", help="only what needs no other process")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave folders that need other processes out, for `--quick`."""
    left_out = config.getoption("--quick") and collection_path.name in FOLDERS_OF_PROGRAMS
    return True if left_out else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what needs another process or takes long, for `--quick`."""
    if config.getoption("--quick"):
        left_out = [item for item in items if _is_left_out(item)]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]


def _is_left_out(item: pytest.Item) -> bool:
    asked = set(getattr(item, "fixturenames", ()))
    parameters = getattr(item, "callspec", None)
    return (
        bool(asked & SERVERS)
        or any(item.get_closest_marker(one) is not None for one in ("processes", "slow"))
        or (parameters is not None and "postgresql" in parameters.params.values())
    )


class Guard:
    """Refuses to start another process while it is on duty; Python keeps it for ever."""

    EVENTS = frozenset(
        {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system", "os.exec"}
    )

    def __init__(self) -> None:
        self.on_duty = False
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.on_duty and event in self.EVENTS:
            raise AssertionError(f"mark this test `processes`: {event} starts {arguments}")


GUARD = pytest.StashKey[Guard]()


def pytest_configure(config: pytest.Config) -> None:
    """Make the guard, for `--quick`, and compose without a program."""
    if config.getoption("--quick"):
        config.stash[GUARD] = Guard()
        compose_here()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """See that no test starts a program under `--quick`, nor a fixture of any scope for it.

    xdist starts its workers outside of every test.
    """
    guard = item.config.stash.get(GUARD, None)
    if guard is None:
        return (yield)
    guard.on_duty = True
    try:
        return (yield)
    finally:
        guard.on_duty = False


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


on_both_databases = pytest.mark.parametrize("database_kind", ["sqlite", "postgresql"])
"""Marks a test whose promise is kept by the database: by a constraint, a lock or a plan."""


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
            yield self._named(f"sqlite:///{copy}")
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
            yield self._named(server.create_database(name, "migrated"))
        finally:
            server.start()
            server.drop_database(name)

    def _named(self, url: str) -> str:
        from tests.support.generations import rename  # noqa: PLC0415 - as below

        rename(url)
        return url

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


@pytest.fixture(scope="session")
def migrated(databases: Databases) -> Iterator[Path]:
    """A migrated SQLite database, of which each world on the virtual clock is a copy."""
    with databases.fresh("sqlite") as url:
        yield Path(url.removeprefix("sqlite:///"))


@pytest.fixture
def database_kind() -> str:
    """The kind of `database_url`; folders and tests of which a database matters want both."""
    return "sqlite"


@pytest.fixture
def database_url(database_kind: str, databases: Databases) -> Iterator[str]:
    """A fresh, migrated database."""
    with databases.fresh(database_kind) as url:
        yield url


@pytest.fixture
def environment(request: pytest.FixtureRequest, database_url: str, relay: Relay) -> dict[str, str]:
    """The contract's environment for one test, with Redis if the test asks for Redis."""
    redis_url = request.getfixturevalue("redis").url if "redis" in request.fixturenames else ""
    return contract(database_url=database_url, redis_url=redis_url, smtp_url=relay.url)


@pytest.fixture(scope="module")
def own_settings() -> dict[str, str]:
    """What a module wants of its `service` beside the contract; nothing, unless it says so."""
    return {}


@pytest.fixture(scope="module")
def service_database() -> str:
    """The kind of database of `service`; a module may want another, or both."""
    return "sqlite"


@pytest.fixture(scope="module")
def service(
    databases: Databases,
    service_database: str,
    redis_server: Redis,
    relay_server: Relay,
    own_settings: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Service]:
    """The whole service, running, one for all tests of a module."""
    redis_server.start()
    relay_server.reset()
    with databases.fresh(service_database) as url:
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


@pytest.fixture
def fragile(monkeypatch: pytest.MonkeyPatch) -> Iterator[Composer]:
    """The composer of this process, which some words harm."""
    with monkeypatch.context() as patched:
        broken = poisoned()
        patched.setattr(composer, "shared", broken)
        yield broken
    broken.close()
