"""Statements that run once for every few messages, each in the SQL that its database runs fastest.

By the name of the dialect. Each can be pasted into psql or sqlite3.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection

from mailer.storage.database import driver
from mailer.storage.sql import NOW, TIMESTAMP

# This runs once for every few messages, so each database gets the statement that it runs fastest.
# The state is a subquery: a plan that joined the releases might begin with all batches of each.
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
# Apart from the statement above, or SQLite would rewrite the index of open batches every time.
CLOSE_IN_SQLITE = """
    UPDATE batches
    SET position = ?3, lease_until = NULL, open = 0
    WHERE id = ?1
        AND epoch = ?2
        AND size = ?3
        AND (SELECT state FROM releases WHERE id = batches.release_id) = 'sending'
    """

_AMONG = {
    "postgresql": "= ANY(%s::bigint[])",
    "sqlite": "IN (SELECT value FROM json_each(?))",
}
CURRENT_RECIPIENTS = {
    name: f"""
        SELECT subscriptions.id, address, locale, nonce, CASE
            WHEN address IS NULL THEN 'gone'
            WHEN ended_at IS NOT NULL THEN 'left'
            WHEN suppressed_at IS NOT NULL THEN 'suppressed'
            WHEN paused_until > {TIMESTAMP[name]} THEN 'paused'
        END
        FROM subscriptions LEFT JOIN subscribers ON subscribers.id = subscriber_id
        WHERE subscriptions.id {among}
        """  # noqa: S608 - made of constants
    for name, among in _AMONG.items()
}
STATES = {
    name: f"SELECT id, state FROM releases WHERE id {among}"  # noqa: S608 - made of constants
    for name, among in _AMONG.items()
}

_GIVEN = {
    "postgresql": """
        SELECT * FROM json_to_recordset(CAST(:given AS json)) AS given (
            release_id bigint, subscription_id bigint, letter text, kind text, reason text,
            counted int, unanswered int, doubted boolean, retry boolean, batch_id bigint,
            epoch bigint
        )""",
    "sqlite": """
        SELECT value ->> 'release_id' AS release_id, value ->> 'subscription_id' AS subscription_id,
            value ->> 'letter' AS letter, value ->> 'kind' AS kind, value ->> 'reason' AS reason,
            value ->> 'counted' AS counted, value ->> 'unanswered' AS unanswered,
            value ->> 'doubted' AS doubted, value ->> 'retry' AS retry,
            value ->> 'batch_id' AS batch_id, value ->> 'epoch' AS epoch
        FROM json_each(:given)""",
}

# What is written beside positions, too; without a `lease` there is none.
_POSITIONS = {
    "postgresql": """
        SELECT * FROM json_to_recordset(CAST(:positions AS json)) AS given (
            id bigint, epoch bigint, position bigint, lease bigint
        )
        -- Always true: PostgreSQL then expects few rows, and looks each up by its key.
        WHERE id > 0 AND epoch > 0 AND position >= 0""",
    "sqlite": """
        SELECT value ->> 'id' AS id, value ->> 'epoch' AS epoch, value ->> 'position' AS position,
            value ->> 'lease' AS lease
        FROM json_each(:positions)""",
}
ADVANCE = {
    name: f"""
        WITH given AS ({_POSITIONS[name]})
        UPDATE batches
        SET position = given.position, open = given.position < batches.size,
            lease_until = {NOW[name]} + given.lease
        FROM given
        WHERE batches.id = given.id
            AND batches.epoch = given.epoch
            AND batches.position <= given.position
        RETURNING batches.id, batches.epoch,
            (SELECT state FROM releases WHERE releases.id = batches.release_id) AS state
        """  # noqa: S608 - made of constants
    for name in NOW
}

_THEY_ARE_DOUBTED = {
    name: f"""
        WHERE release_id = :release AND kind = 'deferred' AND doubted_at IS NOT NULL
            AND subscription_id IN ({among})
        """
    for name, among in {
        "postgresql": "SELECT CAST(value AS bigint) FROM json_array_elements_text("
        "CAST(:given AS json))",
        "sqlite": "SELECT value FROM json_each(:given)",
    }.items()
}
BELIEVE = {
    name: f"""
        UPDATE outcomes SET kind = 'refused', doubted_at = NULL, marked = false, next_at = NULL
        {doubted}"""  # noqa: S608 - made of constants
    for name, doubted in _THEY_ARE_DOUBTED.items()
}
MARK = {
    name: f"""
        UPDATE outcomes SET marked = true, next_at = {NOW[name]} + :hour
        {doubted}"""  # noqa: S608 - made of constants
    for name, doubted in _THEY_ARE_DOUBTED.items()
}

# After a commit with a permanent refusal: whether to look closer.
COUNT_DOUBTED = dict.fromkeys(
    NOW,
    """
    SELECT count(*), EXISTS (
        SELECT 1 FROM batches WHERE release_id = :release AND kind = 'first' AND open
    )
    FROM outcomes
    WHERE release_id = :release AND doubted_at IS NOT NULL AND NOT marked
    """,
)

# A limit lets PostgreSQL look each row up by its key; it would read the whole table at first, and
# keep that plan for the process.
_BEFORE = {
    "postgresql": """
        LEFT JOIN LATERAL (
            SELECT * FROM outcomes
            WHERE release_id = given.release_id AND subscription_id = given.subscription_id
            LIMIT 1
        ) AS before ON true""",
    "sqlite": """
        LEFT JOIN outcomes AS before
            ON before.release_id = given.release_id
            AND before.subscription_id = given.subscription_id""",
}
_LEAST = {"postgresql": "least", "sqlite": "min"}
_GREATEST = {"postgresql": "greatest", "sqlite": "max"}

_LEASED = {
    "postgresql": "SELECT 1 FROM moved WHERE id = given.batch_id AND epoch = given.epoch",
    "sqlite": "SELECT 1 FROM batches WHERE id = given.batch_id AND epoch = given.epoch",
}
# For batches whose positions were advanced before, in the same transaction. A recipient of a first
# batch gets a row, once. The row of a recipient of a retry batch changes only while it belongs to
# this batch: run again after it, the same transaction changes nothing.
WRITE_OUTCOMES = {
    name: f"""
        WITH given AS ({_GIVEN[name]}),
        counted AS (
            SELECT given.release_id, given.subscription_id, given.letter, given.reason,
                CASE WHEN given.retry THEN given.batch_id END AS batch_id, given.doubted,
                coalesce(before.attempts, 0) + given.counted AS attempts,
                coalesce(before.unanswered, 0) + given.unanswered AS unanswered,
                before.doubted_at,
                CASE
                    WHEN given.doubted AND (
                        before.marked OR before.doubted_at <= {NOW[name]} - :day
                    ) THEN 'refused'
                    ELSE given.kind
                END AS kind
            FROM given {_BEFORE[name]}
            WHERE EXISTS ({_LEASED[name]}) AND (NOT given.retry OR given.batch_id = before.batch_id)
        ),
        judged AS (
            SELECT release_id, subscription_id, letter, batch_id, attempts, unanswered,
                CASE WHEN unanswered >= 2 THEN 'skipped' ELSE kind END AS kind,
                CASE WHEN unanswered >= 2 THEN 'unanswered' ELSE reason END
                    AS reason,
                CASE WHEN kind = 'deferred'
                    THEN coalesce(doubted_at, CASE WHEN doubted THEN {NOW[name]} END)
                END AS doubted_at,
                doubted, doubted_at AS doubted_before
            FROM counted
        )
        INSERT INTO outcomes AS written (
            release_id, subscription_id, letter, kind, reason, at, attempts, unanswered, doubted_at,
            marked, next_at, batch_id
        )
        SELECT release_id, subscription_id, letter, kind, reason, {TIMESTAMP[name]},
            attempts, unanswered, doubted_at, false,
            CASE
                WHEN kind <> 'deferred' THEN NULL
                WHEN NOT doubted THEN {NOW[name]} + {_LEAST[name]}(
                    :longest,
                    :retry * (CAST(1 AS bigint) << {_GREATEST[name]}(attempts - 1, 0))
                )
                WHEN doubted_before IS NULL THEN {NOW[name]} + :hour
                ELSE {_GREATEST[name]}({NOW[name]} + :hour, doubted_before + :day)
            END,
            batch_id
        FROM judged
        WHERE true
        ON CONFLICT (release_id, subscription_id) DO UPDATE SET
            kind = excluded.kind, reason = excluded.reason, at = excluded.at,
            attempts = excluded.attempts, unanswered = excluded.unanswered,
            doubted_at = excluded.doubted_at,
            marked = written.marked AND excluded.kind = 'deferred',
            next_at = excluded.next_at, batch_id = NULL
        WHERE written.batch_id = excluded.batch_id
        """  # noqa: S608 - made of constants
    for name in NOW
}
ADVANCE_AND_WRITE_OUTCOMES = f"""
    WITH moved AS ({ADVANCE["postgresql"]}), written AS ({WRITE_OUTCOMES["postgresql"]})
    SELECT * FROM moved
    """  # noqa: S608 - made of constants
"""Both in one statement; SQLite, which takes no round trip for a second one, has none such."""


_NAME = re.compile(r"(?<!:):([a-z]+)")


@lru_cache(maxsize=32)
def _as_psycopg(statement: str) -> str:
    return _NAME.sub(r"%(\1)s", statement)


def execute(connection: Connection, statements: Mapping[str, str], values: object) -> Any:
    """Execute the statement for a database, with values by name, in the transaction that is open.

    Returns the driver's cursor. Through SQLAlchemy it would take several times as long.
    """
    statement = statements[connection.dialect.name]
    if connection.dialect.name == "postgresql":
        statement = _as_psycopg(statement)
    return driver(connection).execute(statement, values)


def pg_array(numbers: Iterable[int]) -> str:
    """Format numbers as a PostgreSQL array literal, ten times as fast as the driver would."""
    return f"{{{','.join(map(str, numbers))}}}"
