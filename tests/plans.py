"""How a database means to answer a question, by its own account."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, event

from mailer.storage.database import db


@contextmanager
def questions() -> Iterator[dict[str, Any]]:
    """Note every statement that is executed, with its parameters."""
    asked: dict[str, Any] = {}

    def note(
        _connection: object, _cursor: object, statement: str, parameters: object, *_: object
    ) -> None:
        if statement.startswith(("SELECT", "INSERT", "UPDATE", "DELETE")):
            asked.setdefault(statement, parameters)

    event.listen(db.engine, "before_cursor_execute", note)
    try:
        yield asked
    finally:
        event.remove(db.engine, "before_cursor_execute", note)


def whole_tables(connection: Connection, statement: str, parameters: Any) -> list[str]:
    """Return the steps of a plan that would read more, the more releases there have been."""
    if connection.dialect.name == "sqlite":
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        steps = [str(row[3]) for row in plan]
        grown = [one for one in steps if "ix_batches_release_id" in one]
        scans = [one for one in steps if one.startswith("SCAN") and "USING" not in one]
        return grown + [
            # What has no name is a subquery, whose own steps are listed apart.
            one
            for one in scans
            if not any(word in one for word in ("VIRTUAL TABLE", "CONSTANT", "SCAN anon_"))
        ]
    # A table as small as these would be read whole by choice.
    connection.exec_driver_sql("SET enable_seqscan = off")
    plan = connection.exec_driver_sql(f"EXPLAIN {statement}", parameters)
    steps = [str(row[0]) for row in plan]
    return [one for one in steps if "Seq Scan" in one or "ix_batches_release_id" in one]
