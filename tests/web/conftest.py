"""What tests of the pages may ask for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.press_room import PressRoom, open_press_room


@pytest.fixture
def room(database_url: str) -> Iterator[PressRoom]:
    """One press room, on both kinds of database."""
    with open_press_room(database_url) as room:
        yield room
