"""What tests of the use cases may ask for."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from mailer.storage import types
from tests.support.press_room import PressRoom, open_press_room

TimePasses = Callable[[timedelta], None]


@pytest.fixture(params=["sqlite", "postgresql"])
def database_kind(request: pytest.FixtureRequest) -> str:
    """Both kinds, because what is tested here is SQL."""
    return str(request.param)


@pytest.fixture
def room(database_url: str) -> Iterator[PressRoom]:
    """The press room, on both kinds of database."""
    with open_press_room(database_url) as room, room.app.app_context():
        yield room


@pytest.fixture
def time_passes(monkeypatch: pytest.MonkeyPatch) -> TimePasses:
    """Put the domain's clock forward by so much, counted from the real time."""
    domain = [
        module
        for name, module in sys.modules.items()
        if name.startswith("mailer.domain.") and hasattr(module, "now")
    ]

    def pass_by(time: timedelta) -> None:
        for module in domain:
            monkeypatch.setattr(module, "now", lambda: types.now() + time)

    return pass_by
