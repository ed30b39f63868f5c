"""What the migrations build is what the models say, down to each constraint."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, inspect

from mailer.storage.models import Base
from tests.conftest import Databases


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
