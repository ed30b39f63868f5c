"""SQL that depends on the dialect: the time by the database's clock, upserts, rows from JSON."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from typing import cast as typed

from sqlalchemy import (
    JSON,
    BigInteger,
    FromClause,
    Label,
    String,
    Table,
    bindparam,
    cast,
    column,
    func,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from mailer.storage.models import Base
from mailer.storage.types import Instant

NOW = {
    "postgresql": "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint)",
    # unixepoch('subsec') is NULL before SQLite 3.42; 2440587.5 is 1970 as a Julian day.
    "sqlite": "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)",
}
"""SQL for the time by the database's own clock, in milliseconds since 1970, by dialect."""

TIMESTAMP = {
    "postgresql": "clock_timestamp()",
    # The text that SQLAlchemy writes for a datetime; it sorts in order of time.
    "sqlite": "strftime('%Y-%m-%d %H:%M:%f', 'now')",
}
"""SQL for the present time as a value of an `Instant` column, by dialect."""


Upsert = postgresql.Insert | sqlite.Insert


class database_now(FunctionElement[int]):  # noqa: N801 - reads as a SQL function
    """SQL function: the time of execution by the database's clock, in milliseconds since 1970."""

    type = BigInteger()
    inherit_cache = True


@compiles(database_now)
def _now(_element: object, compiler: SQLCompiler, **_: Any) -> str:
    return NOW[compiler.dialect.name]


class database_timestamp(FunctionElement[datetime]):  # noqa: N801 - reads as a SQL function
    """SQL function: the present time, by the clock that all machines share, as an `Instant`."""

    type = Instant()
    inherit_cache = True


@compiles(database_timestamp)
def _moment(_element: object, compiler: SQLCompiler, **_: Any) -> str:
    return TIMESTAMP[compiler.dialect.name]


def insert(session: Session, table: type[Base]) -> Upsert:
    """Begin an INSERT that takes ON CONFLICT, in the dialect of the session's database."""
    return insert_into(session.get_bind().dialect.name, table)


def insert_into(dialect_name: str, table: type[Base]) -> Upsert:
    """Begin an INSERT that takes ON CONFLICT in a dialect, for a statement that is built once."""
    target = typed(Table, table.__table__)
    if dialect_name == "postgresql":
        return postgresql.insert(target)
    return sqlite.insert(target)


def json_rows(dialect_name: str, *names: str) -> FromClause:
    """Return a table of integers from one bind parameter, `given`: a JSON list of objects.

    The text of the statement is then the same for any number of rows.
    """
    rows = bindparam("given", type_=String)
    if dialect_name == "postgresql":
        columns = [column(name, BigInteger) for name in names]
        table = func.json_to_recordset(cast(rows, JSON)).table_valued(*columns, name="given")
        return table.render_derived(with_types=True)
    each = func.json_each(rows).table_valued("value")
    values = [func.json_extract(each.c.value, f"$.{name}", type_=BigInteger) for name in names]
    return select(*map(Label, names, values)).subquery("given")
