"""What the trials of relays share: in the long form a durable PostgreSQL, and a page at the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Databases
from tests.relays.report import write_page
from tests.relays.row import LONG, Row
from tests.relays.table import ROWS
from tests.servers import PostgreSQL, Redis
from tests.support.trial import Parts


@pytest.fixture(scope="session", autouse=True)
def durable(request: pytest.FixtureRequest) -> None:
    """Let PostgreSQL sync to the disk, as in production, where time matters."""
    if LONG:
        server: PostgreSQL = request.getfixturevalue("postgresql_server")
        server.sync_to_disk()


@pytest.fixture
def parts(
    request: pytest.FixtureRequest, row: Row, databases: Databases, redis: Redis, tmp_path: Path
) -> Iterator[Parts]:
    """The servers of one trial."""
    server = None if row.database == "sqlite" else request.getfixturevalue("postgresql_server")
    with databases.fresh(row.database) as url:
        yield Parts(url, tmp_path, redis, server)


def pytest_sessionfinish() -> None:
    """Write the page, also of a run in which something failed: it then says so."""
    if LONG:
        write_page(len(ROWS))
