"""Positions: how far each batch has come, moved on by one statement while all goes well."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from mailer.fanout.acknowledgements import Progress
from mailer.storage.database import NOW

# This runs once for every handful of messages, so each database gets what it does fastest.
# PostgreSQL takes the ids twice, since it cannot foresee that a join will find but a few rows.
_MOVE_ON = {
    "postgresql": f"""
        UPDATE batches
        SET position = given.position, lease_until = {NOW["postgresql"]} + %(lease)s
        FROM unnest(%(ids)s::bigint[], %(epochs)s::bigint[], %(positions)s::bigint[])
            AS given (id, epoch, position)
        WHERE batches.id = ANY(%(ids)s::bigint[])
            AND batches.id = given.id
            AND batches.epoch = given.epoch
            AND batches.position <= given.position
            AND (SELECT state FROM releases WHERE id = batches.release_id) = 'sending'
        """,  # noqa: S608 - made of constants
    "sqlite": f"""
        UPDATE batches
        SET position = :position, lease_until = {NOW["sqlite"]} + :lease
        WHERE id = :id
            AND epoch = :epoch
            AND position <= :position
            AND (SELECT state FROM releases WHERE id = batches.release_id) = 'sending'
        """,  # noqa: S608 - made of constants
}

_GIVEN = ("id", "epoch", "position", "lease")


def move_on(connection: Connection, together: Sequence[Progress], lease_seconds: int) -> bool:
    """Move the positions of batches that go on, and prolong their leases.

    Tells whether all of them moved. If not, because a batch is no longer ours or its release is
    not to go on, every progress has still to be written.
    """
    lease = lease_seconds * 1000
    rows = [(one.claim.batch_id, one.claim.epoch, one.position) for one in together]
    name = connection.dialect.name
    if name == "postgresql":
        ids, epochs, positions = map(list, zip(*rows, strict=True))
        given: Any = {"ids": ids, "epochs": epochs, "positions": positions, "lease": lease}
    else:
        given = [dict(zip(_GIVEN, (*row, lease), strict=True)) for row in rows]
    return connection.exec_driver_sql(_MOVE_ON[name], given).rowcount == len(together)
