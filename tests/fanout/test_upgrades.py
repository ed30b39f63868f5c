"""A release that a version of before has begun is finished after the upgrade, once to everybody."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Column, MetaData, Table, create_engine, text

from mailer.domain.tokens import Tokens
from mailer.storage.database import db
from mailer.storage.migrations import upgrade
from mailer.storage.models import Base
from tests.fanout.press_room import ADA, FOLLOWERS, SendingRoom
from tests.processes import eventually
from tests.support.press_room import SLUG
from tests.support.revisions import REVISIONS, bring_to

LAST_TEN = REVISIONS[-11:-1]

Rows = dict[str, list[dict[str, Any]]]


def taken_out(url: str) -> Rows:
    """Return every row of every table, and drop the tables."""
    engine = create_engine(url)
    with engine.begin() as connection:
        found = {
            table.name: [dict(row) for row in connection.execute(table.select()).mappings()]
            for table in Base.metadata.sorted_tables
        }
        everything = MetaData()
        everything.reflect(connection)
        everything.drop_all(connection)
    engine.dispose()
    return found


def as_of(url: str, revision: str, rows: Rows) -> None:
    """Build the tables of a revision, and put in what a version of that time would have stored."""
    engine = create_engine(url)
    bring_to(engine, revision)
    with engine.begin() as connection:
        present = MetaData()
        present.reflect(connection)
        for model in Base.metadata.sorted_tables:
            if (table := present.tables.get(model.name)) is not None:
                _fill(connection, model, table, rows[model.name])
    engine.dispose()


def _fill(connection: Any, model: Table, table: Table, rows: list[dict[str, Any]]) -> None:
    """Put rows into an older table, without the columns that it did not have."""
    connection.execute(table.delete())
    # Without the defaults of the model, which name columns of today.
    known = [column for column in model.columns if column.name in table.columns]
    older = Table(table.name, MetaData(), *(Column(one.name, one.type) for one in known))
    for row in rows:
        values = {column.name: row[column.name] for column in known}
        connection.execute(older.insert().values(values))
    if rows and connection.dialect.name == "postgresql" and isinstance(rows[0].get("id"), int):
        counted = text(
            f"SELECT setval(pg_get_serial_sequence('{table.name}', 'id'), "
            f"(SELECT max(id) FROM {table.name}))"
        )
        connection.execute(counted)


@pytest.mark.parametrize("revision", LAST_TEN)
def test_what_a_version_of_before_has_begun_is_finished(
    room: SendingRoom, database_url: str, revision: str
) -> None:
    release_id = room.publish()
    with room.draining() as leave:
        eventually(lambda: len(room.relay.received) >= 2, "two have it")
        leave()
    assert 2 <= len(room.relay.received) < len(FOLLOWERS)
    room.sign_up("ny@example.org")
    ada = room.subscription(ADA)
    # Until 0011, a link was signed with nothing but the id.
    signed_with = ada.nonce if revision >= "0011" else None
    link = Tokens(room.settings).token("one-click", ada.id, signed_with)
    db.engine.dispose()
    as_of(database_url, revision, taken_out(database_url))
    upgrade(database_url)
    room.sweep()
    room.drain()
    assert room.receipt(release_id).accepted == len(FOLLOWERS)
    assert room.received() == dict.fromkeys(FOLLOWERS, 1)
    assert room.client.post(f"/one-click/{link}").status_code == 200
    assert room.open_subscriptions(ADA) == []
    assert room.letters("confirm") == ["confirm"]
    answer = room.send_follow_form("kari@example.org")
    assert answer.status_code in (200, 202)
    assert room.client.get(f"/{SLUG}/{release_id}").status_code == 200
