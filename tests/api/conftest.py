"""What tests of the API may ask for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.api.client import ApiClient, client
from tests.conftest import Databases
from tests.service import contract


@pytest.fixture
def both(environment: dict[str, str]) -> Iterator[ApiClient]:
    """A publishing system and its key, on both kinds of database, with a real Redis."""
    with client(environment) as one:
        yield one


@pytest.fixture(scope="module")
def quick(databases: Databases) -> Iterator[ApiClient]:
    """A publishing system on SQLite, one for all tests of a module: for what is never saved."""
    with databases.fresh("sqlite") as url:
        variables = contract(database_url=url, redis_url="", smtp_url="smtp://127.0.0.1")
        with client(variables) as one:
            yield one
