"""Choosing, seeing what is known, and being forgotten, also while a release goes out."""

from __future__ import annotations

import json
import zlib

import pytest
from redis import Redis
from sqlalchemy import MetaData, create_engine, select

from mailer.domain import publishers
from mailer.domain.followers import follower_csv
from tests.journeys.people import Visitor, link
from tests.processes import eventually
from tests.relay import SILENCE, Relay
from tests.service import NAMES, Service, application
from tests.support.publishing_system import PublishingSystem


@pytest.fixture(scope="module")
def own_settings() -> dict[str, str]:
    """One connection for a release."""
    return {"MAILER_CONNECTIONS": "1"}


@pytest.fixture
def slug(request: pytest.FixtureRequest) -> str:
    """A press room that no other test has."""
    return f"oya-{zlib.crc32(request.node.nodeid.encode())}"


@pytest.fixture
def press_office(service: Service, slug: str) -> PublishingSystem:
    """The publishing system of that press room."""
    with application(service.environment):
        draft = publishers.PublisherDraft(slug, "Øya kommune", "presse@example.org", "nb")
        return PublishingSystem(service.url, publishers.add(draft))


@pytest.fixture
def kari(
    service: Service, relay_server: Relay, press_office: PublishingSystem, slug: str
) -> Visitor:
    """Somebody who follows it."""
    kari = Visitor(relay_server, f"kari.{slug}@example.org")
    kari.follow(f"{service.url}/{slug}/")
    return kari


def ask_for_data(kari: Visitor) -> str:
    """Go from the welcome letter to the preferences, and from there by mail to what is known."""
    preferences = link(kari.letters(2)[1], "/manage/")
    kari.post(preferences, {"data": "link"})
    return link(kari.letters(3)[2], "/your-data/")


def bring(service: Service, slug: str, *addresses: str) -> follower_csv.ImportReport:
    """Import people, as the operator of the service does."""
    with application(service.environment):
        return follower_csv.import_followers(
            slug,
            ["address", *addresses],
            locales=("nb",),
            erasure_key=service.environment["MAILER_ERASURE_KEY"],
        )


def traces(service: Service, word: str) -> list[str]:
    """Name every place of the service where a word stands: tables, logs, keys and queues."""
    engine = create_engine(service.environment["DATABASE_URL"])
    with engine.connect() as connection:
        tables = MetaData()
        tables.reflect(connection)
        found = [
            name
            for name, table in tables.tables.items()
            if word in str([tuple(row) for row in connection.execute(select(table))])
        ]
    engine.dispose()
    with Redis.from_url(service.environment["REDIS_URL"]) as redis:
        redis.config_set("rdbcompression", "no")
        kept = {key: key + (redis.dump(key) or b"") for key in redis.scan_iter()}
    found += [f"redis: {key!r}" for key, value in kept.items() if word.encode() in value]
    return found + [name for name in NAMES if word in service.log(name)]


def test_a_language_is_chosen_and_the_next_letter_speaks_it(
    kari: Visitor, press_office: PublishingSystem
) -> None:
    preferences = link(kari.letters(2)[1], "/manage/")
    assert "Your emails from" in kari.post(preferences, {"language": "en"}).html
    press_office.done(press_office.publish("brygga"))
    release = kari.letters(3)[2]
    assert release["Content-Language"] == "nb, en"
    assert link(release, "/manage/") == preferences


def test_who_pauses_gets_nothing_until_it_is_taken_up_again(
    kari: Visitor, press_office: PublishingSystem
) -> None:
    preferences = link(kari.letters(2)[1], "/manage/")
    kari.post(preferences, {"pause": "2"})
    assert press_office.done(press_office.publish("brygga"))["total"] == 0
    kari.post(preferences, {"take-up": "now"})
    assert press_office.done(press_office.publish("ferja"))["accepted"] == 1
    assert [str(letter["Subject"]) for letter in kari.letters(3)][2] == "Brygga er åpen igjen"


def test_a_dossier_is_downloaded_and_names_the_letters_by_which_it_was_had(
    kari: Visitor,
) -> None:
    page = ask_for_data(kari)
    known = json.loads(kari.post(page, {"action": "download"}).html)
    assert known["address"] == kari.address
    [subscription] = known["subscriptions"]
    sent = [f"<{one['message_id']}>" for one in subscription["letters"]]
    assert sent == [letter["Message-ID"] for letter in kari.letters(3)]


def test_who_is_forgotten_while_a_release_goes_out_leaves_no_trace(
    service: Service, relay_server: Relay, press_office: PublishingSystem, slug: str
) -> None:
    crowd = [f"{slug}.{number:03}@example.org" for number in range(239)]
    bring(service, slug, *crowd[:55])
    kari = Visitor(relay_server, f"kari.{slug}@example.org")
    kari.follow(f"{service.url}/{slug}/")
    bring(service, slug, *crowd[55:])
    page = ask_for_data(kari)
    relay_server.answer(crowd[0], at="rcpt", reply=SILENCE, times=1)
    silences = relay_server.silences
    answer = press_office.publish("brygga")
    # A batch of sixty is claimed, its first fifty have been looked up, and the relay holds one.
    eventually(lambda: relay_server.silences > silences, "the first message waits")
    assert "subscribers" in traces(service, kari.address)
    assert kari.press(kari.post(page, {"action": "ask"})).status == 200
    relay_server.break_connections()
    receipt = press_office.done(answer)
    assert (receipt["accepted"], receipt["reasons"]["skipped"]) == (239, {"gone": 1})
    assert traces(service, kari.address) == []
    assert "only they may come back" in bring(service, slug, kari.address).refused[2]
    assert traces(service, kari.address) == []
    for token in (link(kari.letters(2)[1], "/manage/"), page):
        assert traces(service, token.rpartition("/")[2]) == []

    kari.press(kari.get(f"{service.url}/{slug}/"), address=kari.address)
    kari.press(kari.get(link(kari.letters(4)[3], "/confirm/")))
    assert bring(service, slug, kari.address).already == 1
