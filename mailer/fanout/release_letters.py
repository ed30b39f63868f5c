"""Letters of a release: composed from its rows once per locale, then filled in per recipient."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from sqlalchemy import and_, exists, or_, select
from sqlalchemy.orm import Session, aliased

from mailer.config import TEMPLATES, Settings
from mailer.domain.publishers import press_room_of
from mailer.domain.releases.press_rooms import published
from mailer.domain.releases.release_body import ReleaseBody
from mailer.domain.tokens import Tokens
from mailer.domain.verp import ReturnPaths
from mailer.fanout.database_thread import DatabaseThread
from mailer.mail.content import Headline, Links, PressRoom, ReplacedVersion, Story
from mailer.mail.dkim import keys_for, sign
from mailer.mail.letters import Letters
from mailer.mail.message import Composed, message_date
from mailer.mail.smtp import Mail
from mailer.storage.models import Publisher, Release, ReleaseKind

_MESSAGE_ID_OCTETS = 20
_LATEST = 4
_NEWER = aliased(Release)


@dataclass(frozen=True, slots=True)
class ReleaseVersions:
    """A release with its press room, and the versions before it that went out, newest first."""

    release: Release
    publisher: Publisher
    before: Sequence[Release]
    latest: tuple[Headline, ...]
    """Other releases of the press room."""


class MessageIds:
    """The Message-IDs of one release: a keyed hash for each recipient (RFC 5322, 3.6.4)."""

    def __init__(self, release: Release) -> None:
        self._keyed = HMAC(release.message_key, SHA256())
        self._domain = release.message_domain

    def of(self, subscription_id: int) -> str:
        """Return the identifier of the message to one recipient, without angle brackets."""
        mac = self._keyed.copy()
        mac.update(b"%d" % subscription_id)
        return f"{mac.finalize()[:_MESSAGE_ID_OCTETS].hex()}@{self._domain}"


@dataclass(frozen=True, slots=True)
class ReleaseLetter:
    """A release letter in one locale, ready for any number of recipients."""

    _from_address: str
    _release_id: int
    _tokens: Tokens
    _return_paths: ReturnPaths | None
    _composed: Composed
    _message_ids: Mapping[str, MessageIds]
    """By slot: the release's own, and those of the versions before."""

    def mail(self, subscription_id: int, address: str) -> Mail:
        """Return the message for a recipient, the same at every attempt; raises UnsafeValue."""
        values = {
            "to": address,
            "unsubscribe_token": self._tokens.token("unsubscribe", subscription_id),
            "one_click_token": self._tokens.token("one-click", subscription_id),
        }
        for name, message_ids in self._message_ids.items():
            values[name] = message_ids.of(subscription_id)
        sender, paths = self._from_address, self._return_paths
        if paths is not None:
            sender = paths.address("bounce", subscription_id, self._release_id)
            values["unsubscribe_address"] = paths.address("unsubscribe", subscription_id)
        return Mail(sender, address, self._composed.fill(values))


class LetterComposer:
    """Composes letters for one drain, and keeps each release letter until the drain ends."""

    def __init__(self, settings: Settings) -> None:
        self.tokens = Tokens(settings)
        self.return_paths = ReturnPaths(settings) if settings.mail_domain else None
        self._base_url = settings.base_url
        self._dkim_keys = settings.dkim_keys
        links = Links.under(settings.base_url, mailto=self.return_paths is not None)
        self.letters = Letters(TEMPLATES, links)
        self._kept: dict[tuple[int, ReleaseKind, str], ReleaseLetter] = {}
        self._composing = asyncio.Lock()

    async def compose(
        self, database: DatabaseThread, release_id: int, kind: ReleaseKind, locale: str
    ) -> ReleaseLetter:
        """Return a letter of a release in a locale, composed the first time it is asked for."""
        key = (release_id, kind, locale)
        if key not in self._kept:
            async with self._composing:
                if key not in self._kept:
                    versions = await database.run_in_session(
                        partial(self._versions, release_id=release_id)
                    )
                    self._kept[key] = self._compose(versions, kind, locale)
        return self._kept[key]

    def press_room(self, publisher: Publisher) -> PressRoom:
        """Return what the letters need of a press room."""
        return press_room_of(publisher, self._base_url)

    def signed(self, composed: Composed, publisher: Publisher, moment: datetime) -> Composed:
        """Return the letter signed by the DKIM keys of its sender; `moment` is that of its Date."""
        return sign(composed, keys_for(self._dkim_keys, publisher.from_address), moment)

    def _versions(self, session: Session, release_id: int) -> ReleaseVersions:
        release = session.get_one(Release, release_id)
        publisher = session.get_one(Publisher, release.publisher_id)
        before: list[Release] = []
        one = release
        while one.replaces_id is not None:
            one = session.get_one(Release, one.replaces_id)
            if one.frozen_at is not None:
                before.append(one)
        others = latest(session, release, f"{self._base_url}/{publisher.slug}")
        return ReleaseVersions(release, publisher, before, others)

    def _compose(self, versions: ReleaseVersions, kind: ReleaseKind, locale: str) -> ReleaseLetter:
        release, publisher = versions.release, versions.publisher
        room, (story, note) = self.press_room(publisher), _story(release, versions.latest)
        message_ids = {"message_id": MessageIds(release)}
        if kind == "release":
            composed = self.letters.release(room, story, locale)
        else:
            before, first = versions.before[0], versions.before[-1]
            message_ids |= {"in_reply_to": MessageIds(before), "thread": MessageIds(first)}
            old, _ = _story(before)
            replaced = ReplacedVersion(old.title, old.published_at, len(versions.before), note)
            compose = self.letters.correction if kind == "correction" else self.letters.retraction
            composed = compose(room, story, replaced, locale)
        moment = release.frozen_at or release.starts_at
        return ReleaseLetter(
            _from_address=publisher.from_address,
            _release_id=release.id,
            _tokens=self.tokens,
            _return_paths=self.return_paths,
            _composed=self.signed(
                composed.with_values({"date": message_date(moment)}), publisher, moment
            ),
            _message_ids=message_ids,
        )


def _story(release: Release, latest: tuple[Headline, ...] = ()) -> tuple[Story, str | None]:
    """Return the story of a version, and its note on the version before."""
    body = ReleaseBody.of_row(release.content)
    return body.story(body.published_at or release.published_at, latest), body.note


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
    return tuple(
        Headline(
            title=other.content["title"],
            url=other.content.get("web_url") or f"{room_url}/{other.id}",
            published_at=published(other),
            language=other.content["language"],
        )
        for other in found
    )
