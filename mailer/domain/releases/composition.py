"""What the letters of a release are made of; composed at acceptance, and kept until it is finished.

HTML from outside is composed by `mail.composer` alone, which no release can harm.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, Self

from sqlalchemy import and_, exists, or_, select
from sqlalchemy.orm import Session, aliased

from mailer.config import Settings
from mailer.domain.publishers import press_room_of
from mailer.domain.releases.stored_release import published, story_of, title_of
from mailer.errors import NotFound
from mailer.mail import composer
from mailer.mail.compose import LetterRequest
from mailer.mail.content import Headline, Links, ReplacedVersion, Story
from mailer.mail.locales import best
from mailer.storage.database import read_transaction
from mailer.storage.models import ComposedLetter, Publisher, Release, Subscription
from mailer.storage.sql import insert

Letters = dict[str, dict[str, dict[str, Any]]]
"""Composed letters as plain JSON values, by the digest of what they are made of, and by locale."""

_LATEST = 4
_FEW = 1_000
_NEWER = aliased(Release)


@dataclass(frozen=True, slots=True)
class ReleaseVersions:
    """A release with its press room, and the versions before it that went out, newest first."""

    release: Release
    publisher: Publisher
    before: Sequence[Release]
    latest: tuple[Headline, ...]
    """Other releases of the press room."""

    @classmethod
    def read(cls, session: Session, release: Release, base_url: str) -> Self:
        """Read what belongs to a release, which need not have a row yet."""
        publisher = session.get_one(Publisher, release.publisher_id)
        before: list[Release] = []
        replaces_id = release.replaces_id
        while replaces_id is not None:
            one = session.get_one(Release, replaces_id)
            replaces_id = one.replaces_id
            if one.frozen_at is not None:
                before.append(one)
        others = latest(session, release, f"{base_url}/{publisher.slug}")
        return cls(release, publisher, before, others)

    def story(self) -> Story:
        """Return the release as its letters show it."""
        return story_of(self.release, self.latest)

    def replaced(self) -> ReplacedVersion:
        """Return the version that this one is sent in the place of."""
        old, note = self.before[0], self.story().note
        return ReplacedVersion(title_of(old), published(old), len(self.before), note)

    def request(self, settings: Settings, kind: Literal["release", "correction"]) -> LetterRequest:
        """Return what a letter of this release is made of."""
        return LetterRequest(
            kind=kind,
            press_room=press_room_of(self.publisher, settings.base_url),
            links=Links.under(settings.base_url, mailto=settings.mail_domain is not None),
            story=self.story(),
            replaced=self.replaced() if kind == "correction" else None,
        )


def compose(settings: Settings, release: Release) -> Letters:
    """Compose all letters of a release that has no row yet; raises NotComposed and Busy."""
    with read_transaction() as session:
        versions = ReleaseVersions.read(session, release, settings.base_url)
        locales = _locales(session, versions.publisher)
    requests = [versions.request(settings, "release")]
    if versions.before:
        requests.append(versions.request(settings, "correction"))
    shared = composer.shared
    return {shared.sha256(request): shared.letters(request, locales) for request in requests}


def _locales(session: Session, publisher: Publisher) -> tuple[str, ...]:
    """Return the locales of the letters to a press room's followers; none means: any.

    Most press rooms are small, and written to in one language: theirs leave the sooner.
    """
    followers = (
        select(Subscription.locale)
        .where(
            Subscription.publisher_id == publisher.id,
            Subscription.confirmed_at.is_not(None),
            Subscription.ended_at.is_(None),
        )
        .order_by(Subscription.id)
        .limit(_FEW)
    )
    found = session.scalars(followers).all()
    locales = {best(one, publisher.locale) for one in (*found, publisher.locale)}
    return () if len(found) == _FEW else tuple(locales)


def keep(session: Session, release_id: int, letters: Letters) -> None:
    """Store letters for every process that sends the release."""
    for digest, by_locale in letters.items():
        for locale, letter in by_locale.items():
            row = {"release_id": release_id, "request_sha256": digest, "locale": locale}
            session.execute(
                insert(session, ComposedLetter)
                .values(**row, letter=letter)
                .on_conflict_do_nothing()
            )


def kept(session: Session, release_id: int, digest: str, locale: str) -> dict[str, Any] | None:
    """Return the letter that was made of a request in a locale, None if there is none."""
    found = session.get(ComposedLetter, (release_id, digest, locale))
    return None if found is None else found.letter


def latest(session: Session, release: Release, room_url: str) -> tuple[Headline, ...]:
    """Return the newest other releases that were out when this one was frozen, as they then were.

    The query uses only columns that do not change after that moment, so that every attempt at
    the release is the same message.
    """
    moment = release.frozen_at or release.starts_at
    without_letters = and_(Release.initial_state == "done", Release.created_at <= moment)
    found = session.scalars(
        select(Release)
        .where(
            Release.publisher_id == release.publisher_id,
            Release.reference != release.reference,
            Release.letter != "retraction",
            ~exists().where(_NEWER.replaces_id == Release.id, _NEWER.created_at <= moment),
            Release.published_at <= moment,
            or_(Release.frozen_at <= moment, without_letters),
        )
        .order_by(Release.published_at.desc(), Release.id.desc())
        .limit(_LATEST)
    )
    return tuple(_headlines(found, room_url))


def _headlines(releases: Iterable[Release], room_url: str) -> Iterator[Headline]:
    """Name releases, without those whose content cannot be read: they harm no other release."""
    for one in releases:
        with suppress(NotFound):
            story = story_of(one)
            url = story.web_url or f"{room_url}/{one.id}"
            yield Headline(story.title, url, story.published_at, story.language)
