"""The small pieces, each alone: composing, filling, signing a link, freezing, claiming."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime

from mailer.config import TEMPLATES, Settings
from mailer.demo import samples
from mailer.domain import publishers
from mailer.domain.followers.follower_csv import import_followers
from mailer.domain.releases import publishing
from mailer.domain.releases.release_body import ReleaseBody
from mailer.domain.tokens import Tokens
from mailer.fanout.batches import claim
from mailer.fanout.freeze import freeze_next
from mailer.mail import content, letters
from mailer.mail.content import Links
from mailer.mail.message import Composed
from mailer.storage.database import transaction
from tests.benchmarks.bench_service import CONNECTIONS, SENDER, database
from tests.benchmarks.parts import DATABASES, Figures, Part, Sizes, table
from tests.service import application, contract

_ROOM = "micro"
_TIMES = 7
_CLAIMS = 50


def measure(sizes: Sizes) -> Figures:
    """Measure each piece several times."""
    return {
        "compositions": _compositions(),
        "databases": {kind: _database(kind, sizes.recipients) for kind in sizes.databases},
        "recipients": sizes.recipients,
    }


def _compositions() -> Figures:
    """Compose, fill and sign, without any database."""
    settings = Settings.from_environment(_environment("sqlite:///none"))
    tokens = Tokens(settings)
    factory = letters.Letters(TEMPLATES, Links.under(settings.base_url))
    composed = _compose(factory)
    token = tokens.token("unsubscribe", 1_234_567)
    values = {
        "to": "follower-1234567@followers1.example.org",
        "date": "Tue, 24 Nov 2026 09:00:00 +0000",
        "message_id": "aaaabbbbccccddddeeeeffffgggghhhh@example.org",
        "unsubscribe_token": token,
        "one_click_token": token,
    }
    return {
        "compose": _seconds(lambda: _compose(factory), 10),
        "fill": _seconds(lambda: composed.fill(values), 5_000),
        "sign": _seconds(lambda: tokens.token("unsubscribe", 1_234_567), 5_000),
    }


def _compose(factory: letters.Letters) -> Composed:
    room = content.PressRoom(
        name=samples.NAME,
        from_address=SENDER,
        locale="nb",
        page_url="https://follow.example.org/museum/",
        website_url=None,
        list_id="museum.follow.example.org",
    )
    return factory.release(room, _news("compose").story(datetime.now(UTC)), "nb")


def _database(kind: str, number: int) -> Figures:
    """Freeze a release, and claim batches of it."""
    with database(kind) as fresh:
        environment = _environment(fresh.url)
        with application(environment):
            draft = publishers.PublisherDraft(_ROOM, samples.NAME, SENDER, "nb")
            publishers.add(draft)
            lines = ["address", *(f"{one}@followers.example.org" for one in range(number))]
            import_followers(_ROOM, lines, locales=("nb",))
            settings = Settings.from_environment(environment)
            freezes = [_freeze(settings, str(one)) for one in range(_TIMES)]
            claims = [_claim(settings) for _ in range(_CLAIMS)]
    return {
        "freeze_a_thousand": statistics.median(freezes) / number * 1000,
        "claim": statistics.median(claims),
    }


def _freeze(settings: Settings, reference: str) -> float:
    publishing.publish(settings, publishers.find(_ROOM), _news(reference))
    began = time.perf_counter()
    with transaction() as session:
        assert freeze_next(session, CONNECTIONS) is not None
    return time.perf_counter() - began


def _claim(settings: Settings) -> float:
    began = time.perf_counter()
    with transaction() as session:
        assert claim(session, settings.lease_seconds)
    return time.perf_counter() - began


def _seconds(piece: Callable[[], object], number: int) -> float:
    """Tell the seconds of one call: the median of several rounds."""
    rounds = []
    for _ in range(_TIMES):
        began = time.perf_counter()
        for _ in range(number):
            piece()
        rounds.append((time.perf_counter() - began) / number)
    return statistics.median(rounds)


def _news(reference: str) -> ReleaseBody:
    news = samples.news(samples.read(), "https://museum.example.org")
    return ReleaseBody.read(news | {"reference": reference})


def _environment(database_url: str) -> dict[str, str]:
    return contract(database_url=database_url, redis_url="", smtp_url="smtp://127.0.0.1")


def describe(figures: Figures) -> str:
    """Write down one row for each piece."""
    pieces = figures["compositions"]
    rows = [
        ["composing a release, once for each locale", _micro(pieces["compose"])],
        ["filling a message for one recipient", _micro(pieces["fill"])],
        ["signing a link", _micro(pieces["sign"])],
    ]
    for kind, found in figures["databases"].items():
        name = DATABASES[kind]
        rows.append([f"freezing 1,000 recipients, {name}", _micro(found["freeze_a_thousand"])])
        rows.append([f"claiming a batch, {name}", _micro(found["claim"])])
    return "\n\n".join(
        [
            "Each piece alone, in one process, medians of several rounds; the freeze of "
            f"{figures['recipients']:,} recipients, and claims as they follow it, each a durable "
            "transaction.",
            table(["", "µs"], rows),
        ]
    )


def _micro(seconds: float) -> str:
    return f"{seconds * 1e6:,.1f}"


PART = Part("micro", "The small pieces", measure, describe)
