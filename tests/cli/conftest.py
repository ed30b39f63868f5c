"""What tests of the command line may ask for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.operator import Operator
from tests.conftest import Databases
from tests.service import contract


@pytest.fixture
def operator(database_url: str, tmp_path: Path) -> Operator:
    """An operator of a service without Redis, on both kinds of database."""
    variables = contract(database_url=database_url, redis_url="", smtp_url="smtp://127.0.0.1")
    return Operator(variables, tmp_path)


@pytest.fixture(scope="module")
def clerk(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """An operator who only makes mistakes, on SQLite, one for all tests of a module."""
    with databases.fresh("sqlite") as url:
        variables = contract(database_url=url, redis_url="", smtp_url="smtp://127.0.0.1")
        operator = Operator(variables, tmp_path_factory.mktemp("clerk"))
        operator.opens_a_room()
        yield operator
