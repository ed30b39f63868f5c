"""The virtual clock in SQL: it tells what SQLite would tell at that moment, or raises."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from mailer.storage.sql import NOW, TIMESTAMP
from tests.support.virtual_time import VirtualClock

Asked = Callable[[VirtualClock, str], Any]
# One for a second, one that a float cannot hold, and two on both sides of half a millisecond.
MOMENTS = (0.0, 0.1, 59.9994, 59.9996, 86_400.0015, 172_800.999_999)
ANOTHER_CLOCK = (
    "julianday('now', 'start of day')",
    "julianday('2026-11-28')",
    "julianday()",
    "strftime('%s', 'now')",
    "strftime('%Y-%m-%d %H:%M:%f', 'now', 'localtime')",
    "strftime('%Y-%m-%d %H:%M:%f')",
    "datetime('now')",
    "date()",
    "time('now')",
    "unixepoch()",
    "CURRENT_TIMESTAMP",
    "CURRENT_DATE",
    "CURRENT_TIME",
)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """Asks SQLite on a virtual clock for the value of an expression."""

    def ask(clock: VirtualClock, expression: str) -> Any:
        engine = create_engine("sqlite://", poolclass=NullPool)
        with clock.installed(monkeypatch), engine.connect() as connection:
            return connection.exec_driver_sql(f"SELECT {expression}").scalar()

    return ask


@pytest.fixture
def sqlite() -> Iterator[sqlite3.Connection]:
    """A connection to SQLite as it is."""
    with closing(sqlite3.connect(":memory:")) as connection:
        yield connection


@pytest.mark.parametrize("expression", [NOW["sqlite"], TIMESTAMP["sqlite"]])
def test_the_time_is_told_as_sqlite_tells_it(
    asked: Asked, sqlite: sqlite3.Connection, expression: str
) -> None:
    for seconds in MOMENTS:
        clock = VirtualClock()
        clock.seconds = seconds
        # SQLite drops what is behind the milliseconds of its clock, but rounds that of a text.
        moment = clock.now().replace(tzinfo=None).isoformat(" ", "milliseconds")
        real = sqlite.execute("SELECT " + expression.replace("'now'", f"'{moment}'")).fetchone()
        assert asked(clock, expression) == real[0], seconds


@pytest.mark.parametrize("expression", ANOTHER_CLOCK)
def test_nothing_else_tells_the_time(asked: Asked, expression: str) -> None:
    with pytest.raises(OperationalError):
        asked(VirtualClock(), expression)


def test_a_refusal_that_the_service_catches_comes_back_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def catch() -> None:
        with VirtualClock().installed(monkeypatch):
            engine = create_engine("sqlite://", poolclass=NullPool)
            with engine.connect() as connection, suppress(OperationalError):
                connection.exec_driver_sql("SELECT unixepoch()")

    with pytest.raises(AssertionError, match="unixepoch"):
        catch()
