"""What tests of the use cases may ask for."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from mailer.domain import (
    asking,
    choices,
    erasure,
    followers,
    outbox,
    publishers,
    releases,
    retention,
    subscriptions,
)
from mailer.domain.clock import now
from tests.domain.cast import PressRoom, TimePasses, press_room


@pytest.fixture
def room(database_url: str) -> Iterator[PressRoom]:
    """The press room, on both kinds of database."""
    with press_room(database_url) as room:
        yield room


@pytest.fixture
def time_passes(monkeypatch: pytest.MonkeyPatch) -> TimePasses:
    """Put the domain's clock forward by so much, counted from the real time."""

    def pass_by(time: timedelta) -> None:
        for module in (
            asking,
            choices,
            erasure,
            followers,
            outbox,
            publishers,
            releases,
            retention,
            subscriptions,
        ):
            monkeypatch.setattr(module, "now", lambda: now() + time)

    return pass_by
