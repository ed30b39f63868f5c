"""What is on show: every letter, with little in it and with everything, in more than one look."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mailer.config import TEMPLATES
from mailer.demo import samples
from mailer.domain.releases.release_body import ReleaseBody
from mailer.fanout.answers.pauses import DOTS_UNANSWERED, RELAY_REFUSES
from mailer.mail.content import Headline, Links, PausedRelease, PressRoom, ReplacedVersion
from mailer.mail.letters import Letters
from mailer.mail.message import Composed
from tests.mail.conftest import VALUES, parse, part

SEED = Path(__file__).parents[3] / "shared" / "seed" / "release.json"
SITE = "https://presse.example"
LETTERS = Letters(TEMPLATES, Links.under(SITE))

PLAIN = PressRoom(
    name=samples.NAME,
    from_address=samples.FROM,
    locale="nb",
    page_url=f"{SITE}/{samples.SLUG}/",
    website_url="https://museet.example/",
    list_id=f"{samples.SLUG}.presse.example",
)
DRESSED = replace(PLAIN, logo_url="https://museet.example/logo.png", accent="#7a1f3d")

NOTES = {
    "correction": "Skøyta legger til klokka tolv, ikke klokka ti som vi skrev først.",
    "retraction": "Skøyta må bli på slipp en uke til. Vi skriver igjen når dagen er klar.",
}
OTHERS = (
    Headline(
        "Sju vintre med dugnad er over: nå kan alle bli med ut på fjorden",
        f"{SITE}/{samples.SLUG}/41",
        datetime(2026, 3, 2, 8, tzinfo=UTC),
        "nb",
    ),
    Headline(
        "Museum opens its boat house to schools",
        f"{SITE}/{samples.SLUG}/37",
        datetime(2026, 1, 19, 8, tzinfo=UTC),
        "en",
    ),
)


@dataclass(frozen=True)
class Exhibit:
    """One letter on show; `kind` is its folder in templates/emails."""

    name: str
    kind: str
    compose: Callable[[str], Composed]

    def html(self, locale: str) -> str:
        """Return the HTML that one recipient gets."""
        return part(parse(self.compose(locale).fill(VALUES)), "html")


def _release(
    name: str, content: dict[str, Any], room: PressRoom = PLAIN, others: tuple[Headline, ...] = ()
) -> Exhibit:
    body = ReleaseBody.read(content)
    story = body.story(body.published(datetime(2026, 4, 11, 10, tzinfo=UTC)), others)
    return Exhibit(name, "release", lambda locale: LETTERS.release(room, story, locale))


def _replacing(kind: str, content: dict[str, Any]) -> Exhibit:
    body = ReleaseBody.read(content)
    story = body.story(body.published(datetime(2026, 4, 11, 10, tzinfo=UTC)))
    old = ReplacedVersion(story.title, story.published_at, 1, NOTES[kind])
    method = getattr(LETTERS, kind)
    return Exhibit(kind, kind, lambda locale: method(PLAIN, story, old, locale))


def _personal(kind: str, room: PressRoom = PLAIN, suffix: str = "") -> Exhibit:
    method = getattr(LETTERS, kind)
    return Exhibit(kind + suffix, kind, lambda locale: method(room, locale))


def _following(name: str, paused_until: datetime | None) -> Exhibit:
    since = datetime(2024, 5, 17, 8, tzinfo=UTC)
    return Exhibit(
        name,
        "following",
        lambda locale: LETTERS.following(PLAIN, since, paused_until, locale),
    )


def _move(kind: str) -> Exhibit:
    method = getattr(LETTERS, kind)
    names = (PLAIN.name, "Fjellavisa")
    return Exhibit(kind, kind, lambda locale: method(PLAIN, names, locale))


def _notice() -> Exhibit:
    paused = (
        PausedRelease(12, RELAY_REFUSES),
        PausedRelease(13, DOTS_UNANSWERED),
    )
    return Exhibit("notice", "notice", lambda locale: LETTERS.notice(PLAIN, paused, locale))


def exhibits() -> Sequence[Exhibit]:
    """List all that is on show; with the release of a real press room, where there is one."""
    sample = samples.placed(samples.read(), "https://museet.example")
    everything = json.loads(Path(__file__).with_name("everything.json").read_text())
    shown = [
        *(_personal(kind) for kind in ("confirm", "welcome", "goodbye", "manage")),
        _personal("confirm", DRESSED, "-dressed"),
        _following("following", None),
        _following("following-paused", datetime(2040, 1, 2, tzinfo=UTC)),
        *(_move(kind) for kind in ("move", "moved")),
        _notice(),
        _release("release", sample),
        *(_replacing(kind, sample) for kind in ("correction", "retraction")),
        _release("release-dressed", sample, DRESSED, OTHERS),
        _release("release-everything", everything, PLAIN, OTHERS),
    ]
    if SEED.exists():
        shown.append(_release("release-real", json.loads(SEED.read_text())))
    return shown
