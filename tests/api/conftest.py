"""What tests of the API may ask for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import Databases
from tests.support.press_room import PressRoom, open_press_room


@pytest.fixture
def room(environment: dict[str, str]) -> Iterator[PressRoom]:
    """A press room on both kinds of database, with a real Redis."""
    with open_press_room(environment["DATABASE_URL"], **environment) as room:
        yield room


@pytest.fixture(scope="module")
def shared_room(databases: Databases) -> Iterator[PressRoom]:
    """A press room on SQLite, one for all tests of a module: for what is never saved."""
    with databases.fresh("sqlite") as url, open_press_room(url) as room:
        yield room
