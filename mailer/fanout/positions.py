"""Positions: how far each batch has come, moved on by one transaction while all goes well."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from mailer.fanout.acknowledgements import Progress
from mailer.storage.database import NOW, bigint_array, driver

# This runs once for every handful of messages, so each database gets what it does fastest. The
# state is asked apart: a plan that joined the releases might begin with all batches of each.
MOVE_ON = {
    "postgresql": f"""
        UPDATE batches
        SET position = given.position, open = given.position < size, lease_until =
            CASE WHEN given.position < size THEN {NOW["postgresql"]} + %s END
        FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[]) AS given (id, epoch, position)
        WHERE batches.id = given.id
            AND batches.epoch = given.epoch
            AND batches.position <= given.position
            AND (SELECT state FROM releases WHERE id = batches.release_id) = 'sending'
        """,  # noqa: S608 - made of constants
    "sqlite": f"""
        UPDATE batches
        SET position = ?3, lease_until = {NOW["sqlite"]} + ?4
        WHERE id = ?1
            AND epoch = ?2
            AND position <= ?3
            AND (SELECT state FROM releases WHERE id = batches.release_id) = 'sending'
        """,  # noqa: S608 - made of constants
}
# A statement of its own: SQLite would write the index of open batches anew for every position.
CLOSE_IN_SQLITE = """
    UPDATE batches
    SET position = ?3, lease_until = NULL, open = 0
    WHERE id = ?1
        AND epoch = ?2
        AND (SELECT state FROM releases WHERE id = batches.release_id) = 'sending'
    """


def move_on(connection: Connection, together: Sequence[Progress], lease_seconds: int) -> bool:
    """Move the positions of batches and prolong their leases; close those that are at their end.

    Tells whether all of them moved. If not, because a batch is no longer ours or its release is
    not to go on, every progress has still to be written.
    """
    lease = lease_seconds * 1000
    if connection.dialect.name == "postgresql":
        columns = map(bigint_array, zip(*map(_row, together), strict=True))
        moved = driver(connection).execute(MOVE_ON["postgresql"], (lease, *columns)).rowcount
    else:
        sqlite = driver(connection)
        sqlite.execute("BEGIN IMMEDIATE")
        on = [(*_row(one), lease) for one in together if not one.finished]
        moved = sqlite.executemany(MOVE_ON["sqlite"], on).rowcount if on else 0
        for one in together:
            if one.finished:
                moved += sqlite.execute(CLOSE_IN_SQLITE, _row(one)).rowcount
        sqlite.execute("COMMIT")
    return bool(moved == len(together))


def _row(progress: Progress) -> tuple[int, int, int]:
    return progress.claim.batch_id, progress.claim.epoch, progress.position
