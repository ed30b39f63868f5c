"""What tests of the pages may ask for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.web.site import Site, open_site


@pytest.fixture
def site(database_url: str) -> Iterator[Site]:
    """One press room, on both kinds of database."""
    with open_site(database_url) as site:
        yield site
