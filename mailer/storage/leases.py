"""Leases: a process takes a row for a while, renews its lease, and is fenced once it is lost.

The rows are batches and outbox messages. A lease ends by the database's clock; each time a row is
taken or freed its epoch is raised, so that its former owner changes nothing in it any more.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, bindparam, or_, update
from sqlalchemy.sql.dml import ReturningUpdate

from mailer.storage.models import Batch, OutboxMessage
from mailer.storage.sql import database_now, json_rows

Leased = type[Batch] | type[OutboxMessage]
Key = tuple[int, int]
"""The id of a row, and its epoch when it was taken."""


def is_free(table: Leased) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions under which a row may be taken."""
    due = or_(table.not_before.is_(None), table.not_before <= database_now())
    return table.lease_until.is_(None), due


def is_lost(table: Leased) -> ColumnElement[bool]:
    """Return the condition that the lease of a row has run out."""
    return table.lease_until < database_now()


def taken(table: Leased) -> dict[str, Any]:
    """Return the values of a row that is being taken; `lease` is a bind parameter in ms."""
    return {"epoch": table.epoch + 1, "lease_until": database_now() + bindparam("lease")}


def renew(
    connection: Connection, table: Leased, keys: Collection[Key], lease_seconds: int
) -> set[Key]:
    """Prolong leases by the database's clock; returns the keys that still have one.

    A row that was freed in the meantime has no lease, and gets none.
    """
    rows = [{"id": row_id, "epoch": epoch} for row_id, epoch in keys]
    values = {"given": json.dumps(rows), "lease": lease_seconds * 1000}
    renewed = connection.execute(_renewing(connection.dialect.name, table), values)
    return {(row.id, row.epoch) for row in renewed}


@lru_cache(maxsize=4)
def _renewing(dialect_name: str, table: Leased) -> ReturningUpdate[int, int]:
    rows = json_rows(dialect_name, "id", "epoch")
    return (
        update(table)
        .where(table.id == rows.c.id, table.epoch == rows.c.epoch, table.lease_until.is_not(None))
        .values(lease_until=database_now() + bindparam("lease"))
        .returning(table.id, table.epoch)
        .execution_options(synchronize_session=False)
    )
