"""What journeys in a browser may ask for."""

from __future__ import annotations

import itertools

import pytest

from mailer.domain import publishers
from tests.journeys.people import Visitor
from tests.relay import Relay
from tests.service import Service, application

_NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def press_room(service: Service) -> str:
    """The address of a press room."""
    with application(service.environment):
        draft = publishers.PublisherDraft("oya", "Øya kommune", "presse@example.org", "nb")
        publishers.add(draft)
    return f"{service.url}/oya/"


@pytest.fixture
def kari(relay_server: Relay) -> Visitor:
    """A visitor with an address nobody else has."""
    return Visitor(relay_server, f"kari.{next(_NUMBERS)}@example.org")
