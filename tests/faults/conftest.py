"""What the fault trials share: in the long form a durable PostgreSQL, and a report at the end."""

from __future__ import annotations

import pytest

from tests.faults.report import write_page
from tests.faults.trial import LONG
from tests.servers import PostgreSQL


@pytest.fixture(scope="session", autouse=True)
def durable(request: pytest.FixtureRequest) -> None:
    """Let PostgreSQL sync to the disk, as in production, where time does not matter."""
    if LONG:
        server: PostgreSQL = request.getfixturevalue("postgresql_server")
        server.sync_to_disk()


def pytest_sessionfinish() -> None:
    """Write the report, also of a run in which something failed: it then says so."""
    if LONG:
        write_page()
