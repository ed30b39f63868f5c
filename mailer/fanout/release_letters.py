"""Compositions: where rows and letters meet, each release composed once per locale."""

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
from mailer.domain.tokens import Links
from mailer.domain.verp import Mailboxes
from mailer.fanout.database_thread import Ledger
from mailer.mail import letters
from mailer.mail.content import Links
from mailer.mail.dkim import serving, sign
from mailer.mail.letters import Headline
from mailer.mail.message import Composed, message_date
from mailer.mail.smtp import Mail
from mailer.storage.models import Letter, Publisher, Release

# JOINED: """The latest releases of a press room, as they were when one of them was frozen."""

_MESSAGE_ID_OCTETS = 20

Latest = tuple[letters.Headline, ...]


@dataclass(frozen=True, slots=True)
class Lineage:
    """A release with its press room, and the versions before it that went out, newest first."""

    release: Release
    publisher: Publisher
    before: Sequence[Release]
    latest: Latest
    """What else the press room has published."""


class MessageIds:
    """The Message-IDs of one release: a keyed hash for each recipient (RFC 5322, 3.6.4)."""

    def __init__(self, release: Release) -> None:
        self._keyed = HMAC(release.message_key, SHA256())
        self._domain = release.message_domain

    def of(self, subscription_id: int) -> str:
        """Return the identifier of the message to one recipient, without angle brackets."""
        numbering = self._keyed.copy()
        numbering.update(b"%d" % subscription_id)
        return f"{numbering.finalize()[:_MESSAGE_ID_OCTETS].hex()}@{self._domain}"


@dataclass(frozen=True, slots=True)
class Composition:
    """A release letter in one locale, ready for any number of recipients."""

    _from_address: str
    _release_id: int
    _links: Links
    _mailboxes: Mailboxes | None
    _composed: Composed
    _message_ids: Mapping[str, MessageIds]
    """By slot: its own, and those of the versions before."""

    def mail(self, subscription_id: int, address: str) -> Mail:
        """Return the same message for the same recipient at every attempt; or `UnsafeValue`."""
        values = {
            "to": address,
            "unsubscribe_token": self._links.token("unsubscribe", subscription_id),
            "one_click_token": self._links.token("one-click", subscription_id),
        }
        for name, numbering in self._message_ids.items():
            values[name] = numbering.of(subscription_id)
        sender = self._from_address
        if self._mailboxes is not None:
            sender = self._mailboxes.address("bounce", subscription_id, self._release_id)
            values["unsubscribe_mailbox"] = self._mailboxes.address("unsubscribe", subscription_id)
        return Mail(sender, address, self._composed.fill(values))


class Compositor:
    """Composes letters for one process, and keeps the releases that are going out."""

    def __init__(self, settings: Settings) -> None:
        self.links = Links(settings)
        self.mailboxes = Mailboxes(settings) if settings.mail_domain else None
        self._base_url = settings.base_url
        self._dkim_keys = settings.dkim_keys
        links = Links.under(settings.base_url, mailto=self.mailboxes is not None)
        self.letters = letters.Letters(TEMPLATES, links)
        self._kept: dict[tuple[int, Letter, str], Composition] = {}
        self._composing = asyncio.Lock()

    async def compose(
        self, ledger: Ledger, release_id: int, letter: Letter, locale: str
    ) -> Composition:
        """Return a letter of a release in a locale, composed the first time it is asked for."""
        key = (release_id, letter, locale)
        if key not in self._kept:
            async with self._composing:
                if key not in self._kept:
                    lineage = await ledger.transact(partial(self._lineage, release_id=release_id))
                    self._kept[key] = self._compose(lineage, letter, locale)
        return self._kept[key]

    def press_room(self, publisher: Publisher) -> letters.PressRoom:
        """Describe a publisher to the letters."""
        return press_room_of(publisher, self._base_url)

    def signed(self, composed: Composed, publisher: Publisher, moment: datetime) -> Composed:
        """Have a letter signed by the keys that serve its sender, at the moment of its Date."""
        return sign(composed, serving(self._dkim_keys, publisher.from_address), moment)

    def _lineage(self, session: Session, release_id: int) -> Lineage:
        release = session.get_one(Release, release_id)
        publisher = session.get_one(Publisher, release.publisher_id)
        before: list[Release] = []
        one = release
        while one.replaces_id is not None:
            one = session.get_one(Release, one.replaces_id)
            if one.frozen_at is not None:
                before.append(one)
        others = latest(session, release, f"{self._base_url}/{publisher.slug}")
        return Lineage(release, publisher, before, others)

    def _compose(self, lineage: Lineage, letter: Letter, locale: str) -> Composition:
        release, publisher = lineage.release, lineage.publisher
        room, (story, note) = self.press_room(publisher), _told(release, lineage.latest)
        message_ids = {"message_id": MessageIds(release)}
        if letter == "release":
            composed = self.letters.release(room, story, locale)
        else:
            before, first = lineage.before[0], lineage.before[-1]
            message_ids |= {"in_reply_to": MessageIds(before), "thread": MessageIds(first)}
            old, _ = _told(before)
            replaced = letters.Replaced(old.title, old.published_at, len(lineage.before), note)
            tell = self.letters.correction if letter == "correction" else self.letters.retraction
            composed = tell(room, story, replaced, locale)
        moment = release.frozen_at or release.starts_at
        return Composition(
            _from_address=publisher.from_address,
            _release_id=release.id,
            _links=self.links,
            _mailboxes=self.mailboxes,
            _composed=self.signed(
                composed.given({"date": message_date(moment)}), publisher, moment
            ),
            _message_ids=message_ids,
        )


def _told(release: Release, latest: Latest = ()) -> tuple[letters.Story, str | None]:
    """Return what a version says, and what it says of the version before."""
    body = ReleaseBody.model_validate(release.content)
    return body.story(body.published_at or release.published_at, latest), body.note


_MOST = 4
_NEWER = aliased(Release)


def latest(session: Session, release: Release, room_url: str) -> tuple[Headline, ...]:
    """Return the newest other releases that were out when this one was frozen, as they then were.

    It asks for nothing that can change after that moment, so that every attempt at the release
    is the same message.
    """
    moment = release.frozen_at or release.starts_at
    mailed_nobody = and_(Release.first_state == "done", Release.created_at <= moment)
    found = session.scalars(
        select(Release)
        .where(
            Release.publisher_id == release.publisher_id,
            Release.reference != release.reference,
            Release.letter != "retraction",
            ~exists().where(_NEWER.replaces_id == Release.id, _NEWER.created_at <= moment),
            Release.published_at <= moment,
            or_(Release.frozen_at <= moment, mailed_nobody),
        )
        .order_by(Release.published_at.desc(), Release.id.desc())
        .limit(_MOST)
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
