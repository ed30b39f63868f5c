"""List bombing: a robot signs hundreds of people up, everywhere, from everywhere."""

from __future__ import annotations

import itertools
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlencode

import pytest
from flask import Flask
from werkzeug.test import EnvironBuilder, TestResponse, run_wsgi_app

from mailer.domain import publishers
from mailer.domain.followers import signup, subscriptions
from mailer.storage.database import transaction
from mailer.storage.models import Subscriber
from mailer.storage.types import now
from mailer.web import constant_time
from tests.servers import Redis
from tests.service import application, contract
from tests.support.press_room import EVIDENCE, everything

POSTS, PEOPLE, NETWORKS, ROOMS = 2_000, 100, 200, 10
LETTERS_A_DAY = 5
LIMITS = {
    "MAILER_TRUSTED_PROXIES": "1",
    # Above what comes for one address: what it may be sent is counted in the database.
    "MAILER_FOLLOWS_AN_HOUR_FOR_ADDRESS": "100",
    "MAILER_FOLLOWS_AN_HOUR_FOR_DOMAIN": "100000",
    "MAILER_FOLLOWS_AN_HOUR_FOR_PRESS_ROOM": "100000",
}


@pytest.fixture
def fast_database_url(database_url: str) -> Iterator[str]:
    """A fresh database whose commits cost little: thousands of them are waited for."""
    if not database_url.startswith("sqlite"):
        yield database_url
        return
    with TemporaryDirectory(dir="/dev/shm") as folder:
        copy = shutil.copy(database_url.removeprefix("sqlite:///"), Path(folder))
        yield f"sqlite:///{copy}"


def bomb(app: Flask) -> Counter[int]:
    """Post every form, and count the answers."""
    blank = EnvironBuilder(method="POST", base_url="http://127.0.0.1").get_environ()
    statuses: Counter[int] = Counter()
    posts = itertools.product(range(PEOPLE), range(POSTS // PEOPLE))
    forms = [(person, number % ROOMS, number * 7 % NETWORKS) for person, number in posts]
    random.Random(5).shuffle(forms)
    for person, room, network in forms:
        body = urlencode({"address": f"Person{person}@example{person % 9}.org"}).encode()
        environ = {
            **blank,
            "PATH_INFO": f"/room-{room}/follow",
            "HTTP_X_FORWARDED_FOR": f"198.51.{network}.{person % 250}",
            "CONTENT_TYPE": "application/x-www-form-urlencoded",
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.input": BytesIO(body),
        }
        _, status, _ = run_wsgi_app(app, environ)
        statuses[int(status[:3])] += 1
    return statuses


@pytest.mark.parametrize("redis_is", ["there", "gone"])
def test_nobody_gets_more_than_five_letters(
    fast_database_url: str, redis: Redis, redis_is: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = contract(
        database_url=fast_database_url, redis_url=redis.url, smtp_url="smtp://127.0.0.1"
    )
    # Padding every answer would take a minute in which nothing is seen.
    monkeypatch.setattr(constant_time, "STEP_SECONDS", 1e-6)
    if redis_is == "gone":
        redis.kill()
    with application(variables | LIMITS) as app:
        for room in range(ROOMS):
            publishers.add(
                publishers.PublisherDraft(f"room-{room}", "Avis", "presse@example.org", "nb")
            )
        assert set(bomb(app)) == {202, 429}
    with application(variables):
        rows = everything()
    person = {subscription[0]: subscription[1] for subscription in rows["subscriptions"]}
    letters = Counter(person[letter[2]] for letter in rows["outbox"])
    assert len(letters) == PEOPLE
    assert set(letters.values()) == {LETTERS_A_DAY}


def variants(number: int) -> list[str]:
    """Write one mailbox in so many ways."""
    dotted = ["".join(f"{letter}." for letter in "karinord").strip("."), "karin.ord", "k.arinord"]
    plus = [f"karinord+{one}" for one in range(number - len(dotted))]
    names = [*dotted, *plus]
    return [
        f"{name}@{'googlemail.com' if one % 2 else 'gmail.com'}" for one, name in enumerate(names)
    ]


@pytest.fixture
def rooms(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Flask]:
    """Four press rooms; sign-ups come from everywhere."""
    monkeypatch.setattr(constant_time, "STEP_SECONDS", 1e-6)
    with application(environment | LIMITS) as app:
        for room in range(4):
            draft = publishers.PublisherDraft(f"room-{room}", "Avis", "presse@example.org", "nb")
            publishers.add(draft)
        yield app


def follow(app: Flask, address: str, room: int, number: int) -> TestResponse:
    """Sign up from a network of its own."""
    return app.test_client().post(
        f"/room-{room}/follow",
        data={"address": address},
        headers={"X-Forwarded-For": f"203.{number % 250}.{number // 250}.1"},
    )


def letters_to(app: Flask) -> int:
    with app.app_context():
        return len(everything()["outbox"])


def test_variants_of_a_mailbox_are_one_mailbox(rooms: Flask) -> None:
    for number, address in enumerate(variants(40)):
        follow(rooms, address, 0, number)
    assert letters_to(rooms) == 2
    for number, address in enumerate(variants(40)):
        follow(rooms, address, 1 + number % 3, 100 + number)
    assert letters_to(rooms) == 5


def test_two_letters_a_day_are_kept_for_other_press_rooms(rooms: Flask) -> None:
    with pytest.MonkeyPatch.context() as patched:
        for hours in range(0, 10, 2):
            patched.setattr(signup, "now", lambda hours=hours: now() + timedelta(hours=hours))
            for one in range(5):
                follow(rooms, "kari@example.net", 0, one)
        assert letters_to(rooms) == 3
        assert follow(rooms, "kari@example.net", 1, 0).status_code == 202
        assert follow(rooms, "kari@example.net", 2, 0).status_code == 202
        assert letters_to(rooms) == 5


@pytest.mark.parametrize("known", ["unknown", "confirmed", "suppressed"])
def test_at_the_limit_of_a_day_everybody_is_told_so_alike(rooms: Flask, known: str) -> None:
    address = "kari@example.net"
    with rooms.app_context():
        if known == "confirmed":
            follow(rooms, address, 0, 0)
            subscriptions.confirm(rooms.extensions["settings"], 1, EVIDENCE)
        if known == "suppressed":
            with transaction() as session:
                session.add(Subscriber(address=address, created_at=now(), suppressed_at=now()))
    with pytest.MonkeyPatch.context() as patched:
        for hours in (0, 2):
            patched.setattr(signup, "now", lambda hours=hours: now() + timedelta(hours=hours))
            asked = [follow(rooms, address, 0, one) for one in range(2)]
        patched.setattr(signup, "now", lambda: now() + timedelta(hours=4))
        told = follow(rooms, address, 0, 10)
    assert [one.status_code for one in asked] == [202, 202]
    assert told.status_code == 429
    assert "Dagens e\u2011poster til denne postkassen er brukt opp" in told.text


def test_variants_at_the_same_moment_are_counted_one_after_another(rooms: Flask) -> None:
    with ThreadPoolExecutor(8) as callers:
        calls = [
            callers.submit(follow, rooms, address, 0, number)
            for number, address in enumerate(variants(24))
        ]
        assert {one.result().status_code for one in calls} == {202}
    assert letters_to(rooms) == 2
