"""What the migrations build is what the models say, down to each constraint."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import alembic.command
import alembic.config
import pytest
from sqlalchemy import Engine, MetaData, create_engine, inspect, select

from mailer.config import MIGRATIONS
from mailer.storage.migrations import upgrade
from mailer.storage.models import Base
from tests.conftest import Databases

TIMESTAMP = datetime(2026, 5, 17, tzinfo=UTC)
ROWS: dict[str, dict[str, Any]] = {
    "publishers": {
        "slug": "oya",
        "name": "Øya",
        "from_address": "presse@example.org",
        "locale": "nb",
        "hold_minutes": 0,
        "created_at": TIMESTAMP,
    },
    "subscribers": {"address": "kari@example.org", "created_at": TIMESTAMP},
    "subscriptions": {
        "subscriber_id": 1,
        "publisher_id": 1,
        "locale": "nb",
        "requested_at": TIMESTAMP,
        "confirmed_at": TIMESTAMP,
    },
    "outbox": {
        "kind": "welcome",
        "subscription_id": 1,
        "message_id": "1@example.org",
        "created_at": TIMESTAMP,
        "epoch": 0,
        "attempts": 0,
    },
}
"""What a service in use has, as the fourth migration left it."""


@pytest.fixture
def migrated(database_url: str) -> Iterator[Engine]:
    """A database as the migrations left it."""
    engine = create_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def modelled(database_url: str, databases: Databases) -> Iterator[Engine]:
    """A database of the same kind, built from the models alone."""
    with databases.fresh("sqlite" if database_url.startswith("sqlite") else "postgresql") as url:
        engine = create_engine(url)
        Base.metadata.drop_all(engine)
        Base.metadata.create_all(engine)
        yield engine
        engine.dispose()


def described(engine: Engine, table: str) -> dict[str, dict[str, str]]:
    """Tell everything the database knows about a table, by the names of columns and constraints."""
    seen = inspect(engine)
    kinds: dict[str, list[Any]] = {
        "columns": seen.get_columns(table),
        "checks": seen.get_check_constraints(table),
        "uniques": seen.get_unique_constraints(table),
        "indexes": seen.get_indexes(table),
        "foreign keys": seen.get_foreign_keys(table),
        "primary key": [seen.get_pk_constraint(table)],
        "options": [{"name": "all", **seen.get_table_options(table)}],
    }
    return {
        kind: {str(one["name"]): json.dumps(one, default=str, sort_keys=True) for one in found}
        for kind, found in kinds.items()
    }


@pytest.mark.parametrize("table", Base.metadata.tables)
def test_a_table_is_as_its_model_says(migrated: Engine, modelled: Engine, table: str) -> None:
    assert described(migrated, table) == described(modelled, table)


def test_no_other_account_reads_a_new_database_in_a_file(tmp_path: Path) -> None:
    file, before = tmp_path / "mailer.sqlite3", os.umask(0o022)
    try:
        upgrade(f"sqlite:///{file}")
        with sqlite3.connect(file) as one:
            one.execute("CREATE TABLE written (one INTEGER)")
            rights = {each.name: stat.filemode(each.stat().st_mode) for each in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert set(rights.values()) == {"-rw-------"}, rights
    assert {"mailer.sqlite3", "mailer.sqlite3-wal", "mailer.sqlite3-shm"} <= rights.keys()


def test_what_a_service_has_survives_what_the_pages_keep(database_url: str) -> None:
    engine = create_engine(database_url)
    Base.metadata.drop_all(engine)
    before = MetaData()
    with engine.connect() as connection:
        connection.exec_driver_sql("DROP TABLE alembic_version")
        connection.commit()
        configuration = alembic.config.Config()
        configuration.set_main_option("script_location", str(MIGRATIONS))
        configuration.attributes["connection"] = connection
        alembic.command.upgrade(configuration, "0004")
        connection.commit()
        before.reflect(connection)
        for name, row in ROWS.items():
            connection.execute(before.tables[name].insert(), row)
        connection.commit()
        kept = {name: connection.execute(select(before.tables[name])).one() for name in ROWS}
    upgrade(database_url)
    with engine.connect() as connection:
        for name, found in kept.items():
            columns = [before.tables[name].c[one] for one in found._fields]
            assert connection.execute(select(*columns)).one() == found
        assert connection.execute(select(Base.metadata.tables["subscriptions"])).one()[-1] is None
    engine.dispose()
