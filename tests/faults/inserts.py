"""Inserts made slow, so that a process can be killed in the middle of a transaction of many."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import LiteralString

import psycopg
from psycopg import sql

from tests.processes import eventually
from tests.support.trial import Parts

_LOOKS = 10
_POSTGRESQL_SLOW: LiteralString = """
    CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql
        AS 'BEGIN PERFORM pg_sleep(0.05); RETURN NEW; END';
    CREATE TRIGGER dawdle BEFORE INSERT ON {} FOR EACH ROW EXECUTE FUNCTION dawdle()
"""
_SQLITE_SLOW = """
    CREATE TRIGGER dawdle BEFORE INSERT ON {} BEGIN
        SELECT count(*) FROM (
            WITH RECURSIVE counting(number) AS (
                SELECT 1 UNION ALL SELECT number + 1 FROM counting WHERE number < 200000
            ) SELECT number FROM counting
        );
    END
"""
_INSERTING: LiteralString = """
    SELECT pid FROM pg_stat_activity
    WHERE datname = current_database() AND state = 'active' AND query LIKE %s
"""


@contextmanager
def slow_inserts(parts: Parts, table: LiteralString) -> Iterator[None]:
    """Let each row that is inserted into a table take its time."""
    if parts.postgresql is None:
        with closing(open_sqlite(parts)) as connection:
            connection.execute(_SQLITE_SLOW.format(table))
            yield
            connection.execute("DROP TRIGGER dawdle")
        return
    with open_postgresql(parts) as connection:
        connection.execute(sql.SQL(_POSTGRESQL_SLOW).format(sql.Identifier(table)))
        yield
        connection.execute("DROP FUNCTION dawdle CASCADE")


def inserting(parts: Parts, table: str, seen: set[int]) -> None:
    """Wait until somebody new is in the middle of inserting; `seen` are those before."""
    if parts.postgresql is None:
        with closing(open_sqlite(parts, patience=0)) as connection:
            looks = range(_LOOKS)
            # Only a long transaction is there at every look; the sweep's are gone in between.
            eventually(lambda: all(_locked(connection) for _ in looks), f"inserts into {table}")
        return
    with open_postgresql(parts) as administrator:

        def newcomers() -> set[int]:
            rows = administrator.execute(_INSERTING, [f"INSERT INTO {table} %"])
            return {int(row[0]) for row in rows} - seen

        seen |= eventually(newcomers, f"inserts into {table}")


def open_sqlite(parts: Parts, patience: float = 60) -> sqlite3.Connection:
    """Connect to the file behind the service's back, and leave transactions to the caller."""
    path = parts.database_url.removeprefix("sqlite:///")
    return sqlite3.connect(path, timeout=patience, isolation_level=None, check_same_thread=False)


def open_postgresql(parts: Parts) -> psycopg.Connection:
    """Connect to the database behind the service's back."""
    return psycopg.connect(parts.database_url.replace("+psycopg", ""), autocommit=True)


def _locked(connection: sqlite3.Connection) -> bool:
    with suppress(sqlite3.OperationalError):
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
        return False
    return True
