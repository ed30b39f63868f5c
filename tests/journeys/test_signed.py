"""With DKIM keys set, whatever a follower receives verifies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mailer.domain import publishers
from tests.conftest import Databases
from tests.dkim_keys import dkimpy_verdicts, ed25519, opendkim_verdicts, rsa
from tests.journeys.people import Visitor
from tests.relay import Relay
from tests.servers import Redis
from tests.service import Service, application, contract
from tests.support.publishing_system import PublishingSystem

KEYS = (rsa("example.org"), ed25519("example.org"))


@pytest.fixture
def service(databases: Databases, redis: Redis, relay: Relay, tmp_path: Path) -> Iterator[Service]:
    """The whole service with two keys; how it signs has nothing to do with the database."""
    named = []
    for key in KEYS:
        file = tmp_path / f"{key.selector}.pem"
        file.write_bytes(
            key.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        named.append(f"{key.domain}:{key.selector}:{file}")
    with databases.fresh("sqlite") as url:
        variables = contract(database_url=url, redis_url=redis.url, smtp_url=relay.url)
        variables["MAILER_DKIM_KEYS"] = ",".join(named)
        with Service.running(variables, tmp_path) as running:
            yield running


def test_a_follower_gets_signed_letters_and_a_signed_release(
    service: Service, relay: Relay, tmp_path: Path
) -> None:
    with application(service.environment):
        api_key = publishers.add(
            publishers.PublisherDraft("oya", "Øya kommune", "presse@news.example.org", "nb")
        )
    bjorn = Visitor(relay, "bjørn@example.org")
    bjorn.follow(f"{service.url}/oya/")
    press_office = PublishingSystem(service.url, api_key)
    press_office.done(press_office.publish("brygga"))
    bjorn.letters(3)
    for received in relay.received:
        assert dkimpy_verdicts(received.content, KEYS) == [True, True]
        assert opendkim_verdicts(received.content, KEYS, tmp_path) == [True, True]
