"""The database: connections and transactions."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from select import POLLIN, poll
from typing import Any, NamedTuple, Self

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import (
    Connection,
    Dialect,
    Engine,
    ExceptionContext,
    RootTransaction,
    event,
    text,
)
from sqlalchemy.exc import DisconnectionError, OperationalError
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from mailer.storage.models import Base

SQLITE_BUSY_MILLISECONDS = 30_000
_POSTGRESQL_PARAMETERS = {
    # The driver gives octets in place of text where the server says that it knows no encoding.
    "client_encoding": "utf8",
    # By default, TCP waits a quarter of an hour or more for a host that cannot be reached.
    "connect_timeout": 5,
    "tcp_user_timeout": 10_000,
    "keepalives_idle": 10,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    # By default, the server keeps the locks of an unreachable client for two hours.
    "options": "-c idle_in_transaction_session_timeout=10s",
}

_READ_ONLY = "25006"
_AFTER_COMMIT = "after commit"

db = SQLAlchemy(metadata=Base.metadata)


@contextmanager
def transaction() -> Iterator[Session]:
    """Open the transaction of a use case; it commits at the end, and rolls back on an exception."""
    with _session(writes=True) as session:
        yield session
    for act in session.info.pop(_AFTER_COMMIT, ()):
        act()


def after_commit(session: Session, act: Callable[[], object]) -> None:
    """Let a use case do something once its transaction is committed; it may not raise."""
    session.info.setdefault(_AFTER_COMMIT, []).append(act)


@contextmanager
def read_transaction() -> Iterator[Session]:
    """Open a transaction that only reads, and on SQLite never waits for a writer."""
    with _session(writes=False) as session:
        yield session


@contextmanager
def autocommit() -> Iterator[Session]:
    """Open a session for one SELECT: PostgreSQL is sent no BEGIN and COMMIT around it."""
    if db.engine.dialect.name != "postgresql":
        with read_transaction() as session:
            yield session
        return
    with db.engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT")
        with Session(connection, expire_on_commit=False) as session:
            yield session


@contextmanager
def _session(*, writes: bool) -> Iterator[Session]:
    with (
        db.engine.connect() as connection,
        _sqlite_write_lock(connection, writes=writes),
        begin(connection, writes=writes),
        Session(connection, expire_on_commit=False) as session,
    ):
        yield session
        session.flush()


@contextmanager
def _sqlite_write_lock(connection: Connection, *, writes: bool) -> Iterator[None]:
    """Let the threads of all processes that call `transaction` write to SQLite one after another.

    SQLite has no queue of writers: each sleeps between attempts, and seldom wakes in time. So they
    queue for a lock of the folder that the database is in.
    """
    path = connection.engine.url.database
    if not (writes and connection.dialect.name == "sqlite" and path):
        yield
        return
    folder = os.open(Path(path).parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def begin(connection: Connection, *, writes: bool = True) -> RootTransaction:
    """Begin a transaction; on SQLite one that `writes` takes the write lock at once."""
    return connection.execution_options(begin="BEGIN IMMEDIATE" if writes else "BEGIN").begin()


def statement_connection() -> Connection:
    """Connect in autocommit mode, for a few statements that are executed again and again.

    On PostgreSQL, BEGIN and COMMIT cost a round trip each. Each statement is prepared and planned
    once, whatever its parameters: planned for a thousand ids, it would read all followers.
    """
    connection = db.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    # Detached, it never returns to the pool, so its settings affect no other code.
    connection.detach()
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET plan_cache_mode = force_generic_plan")
        driver(connection).prepare_threshold = 0
    return connection


def driver(connection: Connection) -> Any:
    """Return the driver's own connection, for statements executed thousands of times a second."""
    return connection.connection.dbapi_connection


@event.listens_for(Engine, "do_connect")
def _prepare_postgresql(
    dialect: Dialect, _record: object, _arguments: object, parameters: dict[str, Any]
) -> None:
    """Let neither side of a PostgreSQL connection wait long for a peer out of reach; text is UTF-8.

    Parameters in the database URL take precedence.
    """
    if dialect.name == "postgresql":
        parameters.update(_POSTGRESQL_PARAMETERS | parameters)


@event.listens_for(Engine, "checkout")
def _discard_closed(
    connection: Any, record: ConnectionPoolEntry, _proxy: PoolProxiedConnection
) -> None:
    """On checkout, discard a connection that the server has closed, for example after a restart.

    Input on an idle connection can only mean that; a ping would be a round trip each time. A
    connection to SQLite is discarded if its file was replaced.
    """
    if type(connection).__module__.startswith("psycopg"):
        if connection.closed or _has_input(connection):
            raise DisconnectionError
    elif "file" in record.info and record.info["file"].is_replaced:
        raise DisconnectionError


@event.listens_for(Engine, "handle_error", retval=True)
def _read_only_is_away(context: ExceptionContext) -> OperationalError | None:
    """Take a database that is read-only for a while, as when its disk is full, for one away."""
    error = context.original_exception
    if is_read_only(error):
        return OperationalError(context.statement, context.parameters, error)
    return None


def is_for_reading_only(session: Session) -> bool:
    """Tell whether PostgreSQL takes no writing for now; SQLite never says so beforehand."""
    show = text("SHOW transaction_read_only")
    return session.get_bind().dialect.name == "postgresql" and session.scalar(show) == "on"


def is_read_only(error: BaseException) -> bool:
    """Tell whether the driver says that PostgreSQL takes no writing for now."""
    return getattr(error, "sqlstate", None) == _READ_ONLY


def _has_input(connection: Any) -> bool:
    poller = poll()
    poller.register(connection.fileno(), POLLIN)
    return bool(poller.poll(0))


@event.listens_for(Engine, "connect")
def _prepare_sqlite(connection: Any, _record: object) -> None:
    """Make a SQLite connection durable, concurrent and strict; `_begin_sqlite` sends BEGIN."""
    if type(connection).__module__ != "sqlite3":
        return
    connection.isolation_level = None
    for pragma in (
        f"busy_timeout = {SQLITE_BUSY_MILLISECONDS}",
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


@event.listens_for(Engine, "begin")
def _begin_sqlite(connection: Connection) -> None:
    """Begin write transactions with BEGIN IMMEDIATE.

    SQLite cannot upgrade a read transaction while another one writes. Raises OperationalError if
    another file was put in the place of the one that is open, or its journal was removed: what is
    written there is lost.
    """
    options = connection.get_execution_options()
    if connection.dialect.name != "sqlite" or "begin" not in options:
        return
    connection.exec_driver_sql(options["begin"])
    if "file" not in connection.info:
        # The journal is there once something was read.
        connection.exec_driver_sql("PRAGMA user_version")
        connection.info["file"] = _DatabaseFile.at(connection.engine.url.database)
    elif connection.info["file"].is_replaced:
        connection.invalidate()
        raise OperationalError(options["begin"], None, sqlite3.OperationalError("replaced"))


class _DatabaseFile(NamedTuple):
    """A SQLite database and its journal: their inodes, 0 for one that is not there."""

    path: str | None
    inodes: tuple[int, ...]

    @property
    def is_replaced(self) -> bool:
        """Whether another file, or another journal, is there now."""
        return self != self.at(self.path)

    @classmethod
    def at(cls, path: str | None) -> Self:
        """Look at what is there now."""
        found = []
        for file in (path, f"{path}-wal") if path else ():
            try:
                found.append(os.stat(file).st_ino)  # noqa: PTH116 - before each transaction
            except FileNotFoundError:
                found.append(0)
        return cls(path, tuple(found))


def identity(connection: Connection) -> str:
    """Return the name of the physical database: a copy restored elsewhere has another name."""
    if "identity" not in connection.info:
        connection.info["identity"] = _identity(connection)
    return str(connection.info["identity"])


def _identity(connection: Connection) -> str:
    if connection.dialect.name == "postgresql":
        statement = (
            "SELECT (SELECT system_identifier FROM pg_control_system()) || '/' || oid "
            "FROM pg_database WHERE datname = current_database()"
        )
        return str(connection.scalar(text(statement)))
    path = connection.engine.url.database
    return f"inode/{Path(path).stat().st_ino if path else 0}"
