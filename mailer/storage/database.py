"""The database: how a transaction begins, and what time it is there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from select import POLLIN, poll
from threading import Lock
from typing import Any
from typing import cast as typed

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import (
    JSON,
    BigInteger,
    ColumnElement,
    Connection,
    Dialect,
    Engine,
    FromClause,
    Label,
    RootTransaction,
    SQLColumnExpression,
    String,
    Table,
    bindparam,
    cast,
    column,
    event,
    func,
    select,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from mailer.storage.models import Base
from mailer.storage.types import Instant

SQLITE_BUSY_MILLISECONDS = 30_000
_POSTGRESQL_PATIENCE = {
    # A network that is gone says nothing: TCP would wait for a quarter of an hour or more.
    "connect_timeout": 5,
    "tcp_user_timeout": 10_000,
    "keepalives_idle": 10,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    # The server would keep the locks of a host that is gone for two hours.
    "options": "-c idle_in_transaction_session_timeout=10s",
}

NOW = {
    "postgresql": "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint)",
    # unixepoch('subsec') is NULL before SQLite 3.42; 2440587.5 is 1970 as a Julian day.
    "sqlite": "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)",
}
"""How a database tells the time by its own clock, in milliseconds since 1970."""

TIMESTAMP = {
    "postgresql": "clock_timestamp()",
    # As SQLAlchemy writes moments there: text, which is in order as the moments are.
    "sqlite": "strftime('%Y-%m-%d %H:%M:%f', 'now')",
}
"""How it tells the same to its columns of moments."""

Upsert = postgresql.Insert | sqlite.Insert

_WRITER = Lock()

db = SQLAlchemy(metadata=Base.metadata)


@contextmanager
def transaction() -> Iterator[Session]:
    """Open the one transaction of a use case; it commits at the end, or leaves no trace."""
    with _session(writes=True) as session:
        yield session


@contextmanager
def read_transaction() -> Iterator[Session]:
    """Open a transaction that only reads, and on SQLite never waits for a writer."""
    with _session(writes=False) as session:
        yield session


@contextmanager
def autocommit() -> Iterator[Session]:
    """Open a session for a single question: PostgreSQL needs no BEGIN and COMMIT around it."""
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
        _turn(connection, writes=writes),
        begin(connection, writes=writes),
        Session(connection, expire_on_commit=False) as session,
    ):
        yield session
        session.flush()


@contextmanager
def _turn(connection: Connection, *, writes: bool) -> Iterator[None]:
    """Let the threads of this process write to SQLite one after another.

    It has no queue for them: who finds it busy sleeps, and is seldom awake when it is free.
    """
    if writes and connection.dialect.name == "sqlite":
        with _WRITER:
            yield
    else:
        yield


def begin(connection: Connection, *, writes: bool = True) -> RootTransaction:
    """Begin a transaction; on SQLite one that `writes` waits for its turn at once."""
    return connection.execution_options(begin="BEGIN IMMEDIATE" if writes else "BEGIN").begin()


def statement_connection() -> Connection:
    """Connect for statements that are each a transaction of its own, and asked again and again.

    To PostgreSQL, BEGIN and COMMIT are two round trips. It is to make its plans once, too, and
    by what it can foresee: for a thousand ids it would begin to read all followers.
    """
    connection = db.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    # It is never given back, so its settings are for nobody else.
    connection.detach()
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET plan_cache_mode = force_generic_plan")
        driver(connection).prepare_threshold = 0
    return connection


def driver(connection: Connection) -> Any:
    """Return the driver's own connection, for what is asked thousands of times a second."""
    return connection.connection.dbapi_connection


@event.listens_for(Engine, "do_connect")
def _limit_postgresql(
    dialect: Dialect, _record: object, _arguments: object, parameters: dict[str, Any]
) -> None:
    """Let neither side of a PostgreSQL connection wait long for one that is gone.

    What the URL says about it counts more.
    """
    if dialect.name == "postgresql":
        parameters.update(_POSTGRESQL_PATIENCE | parameters)


@event.listens_for(Engine, "checkout")
def _discard_closed(connection: Any, _record: object, _proxy: object) -> None:
    """Take no connection on which PostgreSQL has hung up, as when it was started anew.

    It is idle, so whatever it has to say is that; to ask it would be a round trip each time.
    """
    if type(connection).__module__.startswith("psycopg") and (
        connection.closed or _has_input(connection)
    ):
        raise DisconnectionError


def _has_input(connection: Any) -> bool:
    ear = poll()
    ear.register(connection.fileno(), POLLIN)
    return bool(ear.poll(0))


@event.listens_for(Engine, "connect")
def _prepare_sqlite(connection: Any, _record: object) -> None:
    """Make a SQLite connection durable, concurrent and strict, and leave BEGIN to us."""
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
    """Take the write lock first: a read that turns into a write may find the door shut."""
    options = connection.get_execution_options()
    if connection.dialect.name == "sqlite" and "begin" in options:
        connection.exec_driver_sql(options["begin"])


def pg_array(numbers: Iterable[int]) -> str:
    """Write numbers as PostgreSQL reads an array, which is a tenth of its driver's work."""
    return f"{{{','.join(map(str, numbers))}}}"


class database_now(FunctionElement[int]):  # noqa: N801 - reads as the SQL function it is
    """The time by the database's own clock, in milliseconds since 1970, as of this instant."""

    type = BigInteger()
    inherit_cache = True


@compiles(database_now)
def _now(_element: object, compiler: SQLCompiler, **_: Any) -> str:
    return NOW[compiler.dialect.name]


class database_timestamp(FunctionElement[datetime]):  # noqa: N801 - likewise
    """The same as a moment, by the clock that all machines share."""

    type = Instant()
    inherit_cache = True


@compiles(database_timestamp)
def _moment(_element: object, compiler: SQLCompiler, **_: Any) -> str:
    return TIMESTAMP[compiler.dialect.name]


def insert(session: Session, table: type[Base]) -> Upsert:
    """Begin an INSERT that may say what happens ON CONFLICT, in the database's own dialect."""
    return insert_into(session.get_bind().dialect.name, table)


def insert_into(dialect_name: str, table: type[Base]) -> Upsert:
    """Begin the same in a dialect, for a statement that is made once."""
    target = typed(Table, table.__table__)
    if dialect_name == "postgresql":
        return postgresql.insert(target)
    return sqlite.insert(target)


def json_rows(dialect_name: str, *names: str) -> FromClause:
    """Make a table of whole numbers out of one parameter, `given`: a JSON list of objects.

    One statement then serves any number of rows, and is always the same statement.
    """
    rows = bindparam("given", type_=String)
    if dialect_name == "postgresql":
        columns = [column(name, BigInteger) for name in names]
        table = func.json_to_recordset(cast(rows, JSON)).table_valued(*columns, name="given")
        return table.render_derived(with_types=True)
    each = func.json_each(rows).table_valued("value")
    values = [func.json_extract(each.c.value, f"$.{name}", type_=BigInteger) for name in names]
    return select(*map(Label, names, values)).subquery("given")


def as_json(dialect_name: str, *values: SQLColumnExpression[Any]) -> ColumnElement[Any]:
    """Make one value of all rows: a JSON list of lists, None if there are no rows.

    SQLite gives up Python's lock at every row it hands over; fifty rows cost twice as much as one.
    """
    if dialect_name == "postgresql":
        return func.json_agg(func.json_build_array(*values), type_=JSON)
    return func.json_group_array(func.json_array(*values), type_=JSON)


def identity(connection: Connection) -> str:
    """Name the physical database, so that a restored copy is seen to be another one."""
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
