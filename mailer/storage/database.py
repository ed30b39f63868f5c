"""The database: how a transaction begins, what time it is there, and how it is migrated."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import alembic.command
import alembic.config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import BigInteger, Connection, Engine, Table, create_engine, event, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from mailer.config import MIGRATIONS
from mailer.storage.models import Base

SQLITE_BUSY_MILLISECONDS = 30_000

db = SQLAlchemy(metadata=Base.metadata)


@contextmanager
def writing() -> Iterator[Session]:
    """Open the one transaction of a use case; it commits at the end, or leaves no trace."""
    with _session(writes=True) as session, session.begin():
        yield session


@contextmanager
def reading() -> Iterator[Session]:
    """Open a transaction that only reads, and on SQLite never waits for a writer."""
    with _session(writes=False) as session, session.begin():
        yield session


def _session(*, writes: bool) -> Session:
    return Session(db.engine.execution_options(writes=writes), expire_on_commit=False)


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
    if connection.dialect.name == "sqlite":
        writes = connection.get_execution_options().get("writes", True)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


class database_now(FunctionElement[int]):  # noqa: N801 - reads as the SQL function it is
    """The time by the database's own clock, in milliseconds since 1970, as of this instant."""

    type = BigInteger()
    inherit_cache = True


@compiles(database_now, "postgresql")
def _postgresql_now(_element: object, _compiler: SQLCompiler, **_: Any) -> str:
    return "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint)"


@compiles(database_now, "sqlite")
def _sqlite_now(_element: object, _compiler: SQLCompiler, **_: Any) -> str:
    # unixepoch('subsec') is NULL before SQLite 3.42; 2440587.5 is 1970 as a Julian day.
    return "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"


def insert(session: Session, table: type[Base]) -> postgresql.Insert | sqlite.Insert:
    """Begin an INSERT that may say what happens ON CONFLICT, in the database's own dialect."""
    target = cast(Table, table.__table__)
    if session.get_bind().dialect.name == "postgresql":
        return postgresql.insert(target)
    return sqlite.insert(target)


def identity(session: Session) -> str:
    """Name the physical database, so that a restored copy is seen to be another one."""
    bind = session.get_bind()
    if bind.dialect.name == "postgresql":
        return str(
            session.scalar(
                text(
                    "SELECT (SELECT system_identifier FROM pg_control_system()) || '/' || oid "
                    "FROM pg_database WHERE datname = current_database()"
                )
            )
        )
    return f"inode/{_inode(bind.engine.url.database)}"


def _inode(path: str | None) -> int:
    return Path(path).stat().st_ino if path else 0


def upgrade(url: str) -> None:
    """Bring the database at `url` to the newest migration; again is fine."""
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            configuration = _migrations()
            configuration.attributes["connection"] = connection
            alembic.command.upgrade(configuration, "head")
    finally:
        engine.dispose()


def newest_migration() -> str | None:
    """Return the revision that this code wants the database to be at."""
    return ScriptDirectory.from_config(_migrations()).get_current_head()


def present_migration() -> str | None:
    """Return the revision that the database is at; raises SQLAlchemyError if it is away."""
    with db.engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def _migrations() -> alembic.config.Config:
    configuration = alembic.config.Config()
    configuration.set_main_option("script_location", str(MIGRATIONS))
    configuration.set_main_option("path_separator", "os")
    return configuration
