"""Positions: how far each batch has come, moved on by one statement while all goes well."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from mailer.fanout.acknowledgements import Progress
from mailer.storage.database import NOW, bigint_array, driver

# This runs once for every handful of messages, so each database gets what it does fastest.
MOVE_ON = {
    "postgresql": f"""
        UPDATE batches
        SET position = given.position, lease_until = {NOW["postgresql"]} + %s
        FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[]) AS given (id, epoch, position)
        WHERE batches.id = given.id
            AND batches.epoch = given.epoch
            AND batches.position <= given.position
            AND (SELECT state FROM releases WHERE id = batches.release_id) = 'sending'
        """,  # noqa: S608 - made of constants
    "sqlite": f"""
        UPDATE batches
        SET lease_until = {NOW["sqlite"]} + ?4, position = ?3
        WHERE id = ?1
            AND epoch = ?2
            AND position <= ?3
            AND (SELECT state FROM releases WHERE id = batches.release_id) = 'sending'
        """,  # noqa: S608 - made of constants
}


def move_on(connection: Connection, together: Sequence[Progress], lease_seconds: int) -> bool:
    """Move the positions of batches that go on, and prolong their leases.

    Tells whether all of them moved. If not, because a batch is no longer ours or its release is
    not to go on, every progress has still to be written.
    """
    rows = [(one.claim.batch_id, one.claim.epoch, one.position) for one in together]
    lease = lease_seconds * 1000
    if connection.dialect.name == "postgresql":
        columns = map(bigint_array, zip(*rows, strict=True))
        moved = driver(connection).execute(MOVE_ON["postgresql"], (lease, *columns)).rowcount
    else:
        sqlite = driver(connection)
        sqlite.execute("BEGIN IMMEDIATE")
        moved = sqlite.executemany(MOVE_ON["sqlite"], [(*row, lease) for row in rows]).rowcount
        sqlite.execute("COMMIT")
    return bool(moved == len(together))
