"""How transactions begin and end, and what the databases do not have by themselves."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from contextvars import copy_context
from datetime import UTC, datetime, timedelta, timezone
from typing import IO

import pytest
from sqlalchemy import event, func, select
from sqlalchemy.exc import IntegrityError, StatementError
from sqlalchemy.orm import Session

from mailer.storage import database
from mailer.storage.database import db, identity, read_transaction, transaction
from mailer.storage.migrations import upgrade
from mailer.storage.models import ApiKey, Subscriber
from mailer.storage.revisions import misfit
from mailer.storage.sql import database_now
from tests.conftest import Databases
from tests.support.press_room import ADA, KARI, OLA, open_press_room

THEN = datetime(2026, 5, 17, 12, tzinfo=UTC)
HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.readline()
connection.execute("COMMIT")
"""


@pytest.fixture(autouse=True)
def app_context(database_url: str) -> Iterator[None]:
    with open_press_room(database_url) as room, room.app.app_context():
        yield


def opened_by(number: int) -> set[int]:
    """Open so many connections at once, and tell which the driver had to make."""
    made: set[int] = set()

    @event.listens_for(db.engine, "connect")
    def note(connection: object, _record: object) -> None:
        made.add(id(connection))

    with ExitStack() as together:
        for _ in range(number):
            together.enter_context(db.engine.connect())
    event.remove(db.engine, "connect", note)
    return made


def subscriber(address: str, created_at: datetime = THEN) -> Subscriber:
    return Subscriber(address=address, created_at=created_at)


def people(session: Session) -> int:
    return session.scalars(select(func.count()).select_from(Subscriber)).one()


@contextmanager
def held(database_url: str) -> Iterator[IO[str]]:
    """Let another process hold the write lock until a line is written to it."""
    path = database_url.removeprefix("sqlite:///")
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        yield holder.stdin


def test_what_is_written_is_there_for_the_next(database_url: str) -> None:
    with transaction() as session:
        session.add(subscriber(KARI))
    with read_transaction() as session:
        assert people(session) == 1


def test_a_use_case_that_fails_leaves_no_trace(database_url: str) -> None:
    def use_case() -> None:
        with transaction() as session:
            session.add(subscriber(KARI))
            session.flush()
            raise LookupError

    with pytest.raises(LookupError):
        use_case()
    with read_transaction() as session:
        assert people(session) == 0


def test_a_constraint_that_fails_leaves_no_trace_of_what_went_before(database_url: str) -> None:
    def use_case() -> None:
        with transaction() as session:
            session.add(subscriber(KARI))
            session.flush()
            session.add(subscriber(KARI))

    with pytest.raises(IntegrityError):
        use_case()
    with read_transaction() as session:
        assert people(session) == 0


def test_a_row_belongs_to_somebody_who_exists() -> None:
    def use_case() -> None:
        with transaction() as session:
            key = ApiKey(publisher_id=4711, digest="x" * 64, scope="read", created_at=THEN)
            session.add(key)

    with pytest.raises(IntegrityError):
        use_case()


@pytest.mark.processes
@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_a_writer_waits_for_another_process_instead_of_failing(database_url: str) -> None:
    knocking = threading.Event()
    with held(database_url) as holder:

        def let_go() -> None:
            knocking.wait()
            holder.write("\n")
            holder.flush()

        friend = threading.Thread(target=let_go)
        friend.start()
        # The last thing in this thread before its own BEGIN IMMEDIATE.
        event.listen(db.engine, "checkout", lambda *_: knocking.set())
        with transaction() as session:
            session.add(subscriber(OLA))
        friend.join()
    with read_transaction() as session:
        assert people(session) == 1


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_the_threads_of_a_process_write_in_turn(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that none finds the database busy: here that would fail at once."""
    monkeypatch.setattr(database, "SQLITE_BUSY_MILLISECONDS", 0)
    db.engine.dispose()

    def write(name: int) -> None:
        with transaction() as session:
            session.add(subscriber(f"visitor-{name}@example.org"))

    with ThreadPoolExecutor(8) as threads:
        started = [threads.submit(copy_context().run, write, name) for name in range(100)]
        for one in started:
            one.result()
    with read_transaction() as session:
        assert people(session) == 100


@pytest.mark.processes
@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_a_reader_does_not_wait_for_a_writer(database_url: str) -> None:
    with held(database_url) as holder:
        with read_transaction() as session:
            assert people(session) == 0
        holder.write("\n")


def test_a_moment_comes_back_as_the_same_moment_in_utc() -> None:
    oslo = timezone(timedelta(hours=2))
    with transaction() as session:
        session.add(subscriber(ADA, THEN.astimezone(oslo)))
    with read_transaction() as session:
        found = session.scalars(select(Subscriber.created_at)).one()
    assert found == THEN
    assert found.utcoffset() == timedelta()


def test_a_moment_without_a_zone_is_a_mistake_of_ours() -> None:
    def use_case() -> None:
        with transaction() as session:
            session.add(subscriber(ADA, datetime(2026, 5, 17)))  # noqa: DTZ001 - on purpose

    with pytest.raises((StatementError, ValueError), match="without a time zone"):
        use_case()


def test_the_databases_clock_counts_milliseconds_and_never_turns_back() -> None:
    with read_transaction() as session:
        first = session.scalars(select(database_now())).one()
    with read_transaction() as session:
        then = session.scalars(select(database_now())).one()
    assert isinstance(first, int)
    assert then >= first
    # In seconds it would be before 1971, in microseconds after the year 30000.
    assert datetime.fromtimestamp(first / 1000, UTC).year in range(2020, 2200)


def test_a_database_knows_itself_and_is_no_other(databases: Databases, database_url: str) -> None:
    with read_transaction() as session:
        own = identity(session.connection())
        assert identity(session.connection()) == own
    kind = "sqlite" if database_url.startswith("sqlite") else "postgresql"
    with (
        databases.fresh(kind) as url,
        open_press_room(url) as room,
        room.app.app_context(),
        read_transaction() as session,
    ):
        assert identity(session.connection()) != own


def test_migrating_again_changes_nothing(database_url: str) -> None:
    with transaction() as session:
        session.add(subscriber(KARI))
    db.engine.dispose()
    upgrade(database_url)
    with read_transaction() as session:
        assert people(session) == 1
    assert misfit() is None


def test_as_many_connections_are_kept_as_were_needed_at_once() -> None:
    opened_by(12)
    assert opened_by(12) == set()
