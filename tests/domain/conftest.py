"""What tests of the use cases may ask for."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import timedelta

import pytest

from mailer.storage import types
from tests.domain.press_room import PressRoom, TimePasses, press_room


@pytest.fixture
def room(database_url: str) -> Iterator[PressRoom]:
    """The press room, on both kinds of database."""
    with press_room(database_url) as room:
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
