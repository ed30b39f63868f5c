"""A version runs with the database that it needs, or says what to do; one newer runs it, too."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest
from sqlalchemy import Engine, create_engine, inspect, text

from mailer.errors import Misconfigured
from mailer.storage.database import transaction
from mailer.storage.migrations import upgrade
from mailer.storage.revisions import NEWEST, misfit, require_fitting
from tests.servers import PostgreSQL
from tests.service import application, contract
from tests.support.press_room import PressRoom, open_press_room
from tests.support.revisions import REVISIONS, bring_to

SIDE_BY_SIDE = [(old, new) for old, new in pairwise(REVISIONS) if old > "0005"]
"""Migrations whose version before goes on while they are made; the first ones met no user."""


@pytest.fixture
def room(database_url: str) -> Iterator[PressRoom]:
    with open_press_room(database_url) as room, room.app.app_context():
        yield room


def set_to(present: str | None, since: str | None = None) -> None:
    """Let the database have another revision, as a version of another age left it."""
    with transaction() as session:
        session.execute(text("DELETE FROM alembic_version"))
        if present is not None:
            row = text("INSERT INTO alembic_version (version_num) VALUES (:present)")
            session.execute(row, {"present": present})
        session.execute(text("UPDATE generation SET runs_since = :since"), {"since": since})


@pytest.mark.parametrize(
    ("present", "since", "said"),
    [
        (NEWEST, None, None),
        (NEWEST, "0001", None),
        ("0009", None, "older"),
        ("9999", NEWEST, None),
        ("9999", "0001", None),
        ("9999", "9998", "newer"),
        ("9999", None, "newer"),
        (None, None, "not migrated"),
        ("1a2b3c4d5e6f", None, "no version"),
    ],
)
def test_a_version_says_whether_it_may_run(
    room: PressRoom, present: str | None, since: str | None, said: str | None
) -> None:
    set_to(present, since)
    answer = room.client.get("/readyz")
    assert answer.status_code == (503 if said else 200)
    if said is None:
        require_fitting()
        assert misfit() is None
    else:
        assert said in answer.get_json()["status"]
        with pytest.raises(Misconfigured, match=said):
            require_fitting()


def test_a_database_without_any_table_is_not_migrated(room: PressRoom) -> None:
    with transaction() as session:
        session.execute(text("DROP TABLE alembic_version"))
    assert "mailer db upgrade" in room.client.get("/readyz").get_json()["status"]


def test_an_upgrade_notes_what_it_came_from(database_url: str, room: PressRoom) -> None:
    set_to(NEWEST, "0001")
    upgrade(database_url)
    with transaction() as session:
        assert session.scalar(text("SELECT runs_since FROM generation")) == "0001"
        session.execute(text("DROP INDEX ix_releases_finished_at"))
        session.execute(text("DROP TABLE generation"))
        session.execute(text("UPDATE alembic_version SET version_num = '0015'"))
    upgrade(database_url)
    with transaction() as session:
        assert session.scalar(text("SELECT runs_since FROM generation")) == "0015"
    assert misfit() is None


def test_no_older_version_upgrades_a_newer_database(database_url: str, room: PressRoom) -> None:
    set_to("9999")
    with pytest.raises(Misconfigured, match="newer"):
        upgrade(database_url)


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1", "WIN1252"])
def test_a_database_that_cannot_hold_every_text_is_refused(
    postgresql_server: PostgreSQL, encoding: str
) -> None:
    name = f"keeps_{encoding.lower()}"
    statement = "CREATE DATABASE {} ENCODING {} TEMPLATE template0 LC_COLLATE {} LC_CTYPE {}"
    postgresql_server.execute(statement, name, encoding, "C", "C")
    try:
        with pytest.raises(Misconfigured, match="encoding=UTF8"):
            upgrade(postgresql_server.url(name))
        environment = contract(
            database_url=postgresql_server.url(name), redis_url="", smtp_url="smtp://127.0.0.1"
        )
        with application(environment), pytest.raises(Misconfigured, match=encoding):
            require_fitting()
    finally:
        postgresql_server.drop_database(name)


def _at(engine: Engine, revision: str) -> dict[str, dict[str, dict[str, object]]]:
    """Bring a database to a revision, and describe its columns by table and name."""
    bring_to(engine, revision)
    with engine.connect() as connection:
        found = inspect(connection)
        return {
            table: {column["name"]: dict(column) for column in found.get_columns(table)}
            for table in found.get_table_names()
        }


@pytest.mark.parametrize(("old", "new"), SIDE_BY_SIDE)
def test_the_version_before_can_go_on_beside_a_migration(old: str, new: str) -> None:
    """Nothing that it reads is gone, and it can write a row without knowing the new columns."""
    engine = create_engine("sqlite://")
    before, after = _at(engine, old), _at(engine, new)
    for table, columns in before.items():
        for name, column in columns.items():
            left = after[table][name]
            assert str(left["type"]) == str(column["type"])
            assert left["nullable"] or not column["nullable"]
        for name in after[table].keys() - columns.keys():
            added = after[table][name]
            assert added["nullable"] or added["default"] is not None, f"{table}.{name}"
    engine.dispose()
