"""What tests of the pages may ask for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.web.house import House, house


@pytest.fixture
def home(database_url: str) -> Iterator[House]:
    """One press room, on both kinds of database."""
    with house(database_url) as home:
        yield home
