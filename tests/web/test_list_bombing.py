"""List bombing: a robot signs hundreds of people up, everywhere, from everywhere."""

from __future__ import annotations

import itertools
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlencode

import pytest
from flask import Flask
from werkzeug.test import EnvironBuilder, run_wsgi_app

from mailer.domain import publishers
from mailer.web import constant_time
from tests.servers import Redis
from tests.service import application, contract
from tests.support.press_room import everything

POSTS, PEOPLE, NETWORKS, ROOMS = 2_000, 100, 200, 10
LETTERS_A_DAY = 5
LIMITS = {
    "MAILER_TRUSTED_PROXIES": "1",
    # Below what comes for one address and above what it may be sent, so that both limits act.
    "MAILER_FOLLOWS_AN_HOUR_FOR_ADDRESS": "7",
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
        assert bomb(app) == {202: POSTS}
    with application(variables):
        rows = everything()
    person = {subscription[0]: subscription[1] for subscription in rows["subscriptions"]}
    letters = Counter(person[letter[2]] for letter in rows["outbox"])
    assert len(letters) == PEOPLE
    assert set(letters.values()) == {LETTERS_A_DAY}
