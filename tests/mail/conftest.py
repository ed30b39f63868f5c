"""What the letters are tested with: one press room, one full story, one recipient."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest

from mailer.config import TEMPLATES
from mailer.mail.content import (
    Contact,
    Document,
    Headline,
    Image,
    Links,
    PausedRelease,
    PressRoom,
    ReplacedVersion,
    Source,
    Story,
)
from mailer.mail.letters import Letters
from mailer.mail.message import Composed

KINDS = (
    *("release", "correction", "retraction"),
    *("confirm", "following", "welcome", "goodbye", "manage", "move", "moved", "notice"),
)
NOTE = "Skuta heter Hvalen, ikke Hvalrossen."
PAUSED_BECAUSE = "The mail relay has accepted nothing for two days."
# What a notice says in no language but the program's own.
COMMANDS = {
    PAUSED_BECAUSE,
    "mailer release resume 12",
    "POST /api/v1/releases/12/resume",
    "mailer publisher set sjofart --notices",
}
VALUES = {
    "to": "kari.nordmann@example.org",
    "date": "Thu, 13 Nov 2025 09:00:00 +0100",
    "message_id": "k2j4h5.17@follow.example.com",
    "in_reply_to": "a1b2c3.17@follow.example.com",
    "thread": "f0e1d2.17@follow.example.com",
    "confirm_token": "eyJpZCI6MX0.confirm-" + "x" * 50,
    "access_token": "MQ.aSVyZw.access-" + "z" * 40,
    "unsubscribe_token": "eyJpZCI6MX0.leave_" + "y" * 52,
    "move_token": "12.move-" + "w" * 38,
    "one_click_token": "eyJpZCI6MX0.click",
    "unsubscribe_address": f"unsubscribe-{'a2' * 16}@{'in.' * 62}org",
}
LINKS = Links(
    confirm="https://follow.example.com/confirm/",
    unsubscribe="https://follow.example.com/unsubscribe/",
    one_click="https://follow.example.com/one-click/",
    manage="https://follow.example.com/manage/",
    your_data="https://follow.example.com/your-data/",
    move="https://follow.example.com/move/",
)


def parse(message: bytes) -> EmailMessage:
    """Read a message as a mail client would."""
    parsed = message_from_bytes(message, policy=policy.default)
    assert isinstance(parsed, EmailMessage)
    return parsed


def part(message: EmailMessage, kind: str) -> str:
    """Return the body of a kind, "plain" or "html", with the line ends of Python."""
    body = message.get_body((kind,))
    assert body is not None
    return str(body.get_content()).replace("\r\n", "\n")


def write(
    letters: Letters, kind: str, press_room: PressRoom, story: Story, locale: str
) -> Composed:
    """Compose a letter by its name."""
    if kind == "release":
        return letters.release(press_room, story, locale)
    parts: list[object] = []
    if kind == "notice":
        parts = [(PausedRelease(12, PAUSED_BECAUSE),)]
    if kind == "following":
        parts = [datetime(2025, 3, 1, tzinfo=UTC), None]
    if kind in ("move", "moved"):
        parts = [(press_room.name, story.latest[0].title)]
    if kind in ("correction", "retraction"):
        parts = [story, ReplacedVersion(story.title, story.published_at, 1, NOTE)]
    composed = getattr(letters, kind)(press_room, *parts, locale)
    assert isinstance(composed, Composed)
    return composed


@pytest.fixture(scope="session")
def letters() -> Letters:
    return Letters(TEMPLATES, LINKS)


@pytest.fixture(scope="session")
def reachable_letters() -> Letters:
    """The letters of a service that gets mail, too."""
    return Letters(TEMPLATES, replace(LINKS, mailto=True))


@pytest.fixture(scope="session")
def press_room() -> PressRoom:
    return PressRoom(
        name="Sjøfartsmuseet i Ålesund",
        from_address="presse@museet.example",
        locale="nb",
        page_url="https://follow.example.com/sjofart/",
        website_url="https://museet.example",
        list_id="sjofart.follow.example.com",
    )


@pytest.fixture(scope="session")
def story() -> Story:
    return Story(
        language="nb",
        title="Båten er hjemme igjen",
        lead="Etter 90 år er «Ørnen» tilbake ved kai.",
        body_html='<p>ÅLESUND — Skuta ble <a href="https://havn.example/funn">funnet</a>.</p>',
        image=Image("https://museet.example/skute.jpg", "Skuta", 1200, 800, "Ved kai.", "Per Ås"),
        source=Source("Havnebladet", "https://havn.example/blad"),
        keywords=("Skip", "Kulturarv"),
        contacts=(Contact("Liv Øye", "Direktør", "liv@museet.example", "+47 70 00 00 01"),),
        documents=(Document("Tegninger (PDF)", "https://museet.example/tegning.pdf"),),
        web_url="https://museet.example/nytt/skuta",
        published_at=datetime.fromisoformat("2025-05-17T08:00:00+02:00"),
        latest=(
            Headline(
                "Ny brygge",
                "https://museet.example/nytt/brygge",
                datetime.fromisoformat("2025-03-01T08:00:00+01:00"),
            ),
        ),
    )


@pytest.fixture
def locale() -> str:
    """The language of the recipient; a module may want others."""
    return "nn"


@pytest.fixture(params=KINDS)
def letter(
    request: pytest.FixtureRequest,
    reachable_letters: Letters,
    press_room: PressRoom,
    story: Story,
    locale: str,
) -> Composed:
    """Every letter in turn."""
    return write(reachable_letters, request.param, press_room, story, locale)
