"""What tests of the storage may ask for."""

from __future__ import annotations

import pytest


@pytest.fixture(params=["sqlite", "postgresql"])
def database_kind(request: pytest.FixtureRequest) -> str:
    """Both kinds, because what is tested here is SQL."""
    return str(request.param)
