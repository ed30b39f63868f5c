"""What is asked again and again while mail goes out is found by an index, however much there is."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from sqlalchemy.orm import Session

from mailer.domain import restores
from mailer.domain.releases.lifecycle import finish_if_complete
from mailer.fanout.acknowledgements import write
from mailer.fanout.batches import claim, releases_waiting
from mailer.fanout.freeze import release_is_due
from mailer.fanout.outcomes import Progress, retry_due
from mailer.fanout.statements import (
    ADVANCE_AND_WRITE_OUTCOMES,
    CLOSE_IN_SQLITE,
    CURRENT_RECIPIENTS,
    MOVE_ON,
    execute,
    pg_array,
)
from mailer.fanout.sweep import free_lost_batch, hold_due
from mailer.storage import generation
from mailer.storage.database import statement_connection, transaction
from mailer.storage.leases import renew
from mailer.storage.models import Batch
from tests.fanout.press_room import SendingRoom
from tests.plans import questions, whole_tables

Question = Callable[[Session, SendingRoom], object]


def _claim(session: Session, _room: SendingRoom) -> object:
    return claim(session, 60)


def _acknowledge(session: Session, room: SendingRoom) -> object:
    [taken] = claim(session, 60)
    return write(session.connection(), [Progress(taken, 1)], room.settings)


def _renew(session: Session, _room: SendingRoom) -> object:
    return renew(session.connection(), Batch, [one.key for one in claim(session, 60)], 60)


def _settle(session: Session, _room: SendingRoom) -> None:
    finish_if_complete(session, 1)


def _retry(session: Session, _room: SendingRoom) -> None:
    retry_due(session, 1, 16)


def _of_the_sweep(session: Session, _room: SendingRoom) -> object:
    hold_due(session)
    free_lost_batch(session, 1)
    return releases_waiting(session.connection()), release_is_due(session.connection())


@pytest.mark.parametrize("question", [_claim, _acknowledge, _renew, _settle, _retry, _of_the_sweep])
def test_no_question_reads_a_whole_table(room: SendingRoom, question: Question) -> None:
    assert room.freeze() == 1
    with transaction() as session, questions() as asked:
        question(session, room)
    with closing(statement_connection()) as connection:
        assert asked
        for statement, parameters in asked.items():
            assert not whole_tables(connection, statement, parameters), statement


def test_no_sweep_reads_a_whole_table_to_compare_the_database(room: SendingRoom) -> None:
    room.freeze()
    with questions() as asked:
        restores.watch(room.settings)
        with closing(statement_connection()) as connection:
            restores.accept(room.settings, generation.read(connection), "Restored.")
    with closing(statement_connection()) as connection:
        assert len(asked) > 8
        for statement, parameters in asked.items():
            assert not whole_tables(connection, statement, parameters), statement


@pytest.mark.parametrize("number", [1, 2_000])
def test_what_is_asked_past_the_orm_reads_no_whole_table_either(
    room: SendingRoom, number: int
) -> None:
    assert room.freeze() == 1
    ids = list(range(1, number + 1))
    with closing(statement_connection()) as connection:
        if connection.dialect.name == "postgresql":
            asked: dict[str, Any] = {
                CURRENT_RECIPIENTS["postgresql"]: (pg_array(ids),),
                MOVE_ON["postgresql"]: (60_000, *[pg_array(ids)] * 3),
            }
        else:
            asked = {
                CURRENT_RECIPIENTS["sqlite"]: (str(ids),),
                MOVE_ON["sqlite"]: (1, 1, 1, 60_000),
                CLOSE_IN_SQLITE: (1, 1, 1),
            }
        for statement, parameters in asked.items():
            assert not whole_tables(connection, statement, parameters), statement


def test_outcomes_are_found_by_their_key_also_in_a_table_that_was_empty(
    postgresql_room: SendingRoom,
) -> None:
    """A process keeps its plan while the table grows under it."""
    assert postgresql_room.freeze() == 1
    values = {"positions": "[]", "given": "[]", "retry": 1, "longest": 1, "hour": 1, "day": 1}
    explained = {"postgresql": f"EXPLAIN {ADVANCE_AND_WRITE_OUTCOMES}"}
    with closing(statement_connection()) as connection:
        plan = execute(connection, explained, values).fetchall()
    assert not [row for row in plan if "Seq Scan on outcomes" in str(row)]
