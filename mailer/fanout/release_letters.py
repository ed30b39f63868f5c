"""Letters of a release: composed from its rows once per locale, then filled in per recipient."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from sqlalchemy.orm import Session

from mailer.config import TEMPLATES, Settings
from mailer.domain.publishers import press_room_of
from mailer.domain.releases import composition
from mailer.domain.releases.composition import ReleaseVersions
from mailer.domain.tokens import Tokens
from mailer.domain.verp import ReturnPaths
from mailer.errors import Busy, Killed, NotComposed
from mailer.fanout.batches import Claim
from mailer.fanout.database_thread import DatabaseThread
from mailer.mail import composer
from mailer.mail.compose import LetterRequest
from mailer.mail.content import Links, PressRoom
from mailer.mail.dkim import keys_for, sign
from mailer.mail.letters import Letters
from mailer.mail.locales import best
from mailer.mail.message import Composed, message_date
from mailer.mail.smtp import Mail
from mailer.storage.models import Publisher, Release, ReleaseKind

_MESSAGE_ID_OCTETS = 20
_TRIES = 2
_DATED_AT_MOST = 64
"""Letters that are kept: a long release has another Date every ten minutes."""

log = logging.getLogger(__name__)


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

    def mail(self, subscription_id: int, nonce: int | None, address: str) -> Mail:
        """Return the message for a recipient, the same at every attempt; raises UnsafeValue."""
        values = {
            "to": address,
            "unsubscribe_token": self._tokens.token("unsubscribe", subscription_id, nonce),
            "one_click_token": self._tokens.token("one-click", subscription_id, nonce),
        }
        for name, message_ids in self._message_ids.items():
            values[name] = message_ids.of(subscription_id)
        sender, paths = self._from_address, self._return_paths
        if paths is not None:
            sender = paths.address("bounce", subscription_id, self._release_id, nonce)
            values["unsubscribe_address"] = paths.address(
                "unsubscribe", subscription_id, nonce=nonce
            )
        return Mail(sender, address, self._composed.fill(values))


_Kind = tuple[int, ReleaseKind, str]
"""The id of a release, which of its letters, and the locale."""


@dataclass(frozen=True, slots=True)
class _Undated:
    """A letter of a release in one locale, without its Date, and therefore not signed yet."""

    release_id: int
    publisher: Publisher
    composed: Composed
    message_ids: Mapping[str, MessageIds]


class LetterComposer:
    """Composes letters for one drain, and keeps each release letter until the drain ends."""

    def __init__(self, settings: Settings) -> None:
        self.tokens = Tokens(settings)
        self.return_paths = ReturnPaths(settings) if settings.mail_domain else None
        self._base_url = settings.base_url
        self._dkim_keys = settings.dkim_keys
        links = Links.under(settings.base_url, mailto=self.return_paths is not None)
        self.letters = Letters(TEMPLATES, links)
        self._settings = settings
        self._letters: dict[_Kind, asyncio.Task[_Undated]] = {}
        self._dated: dict[tuple[_Kind, int], ReleaseLetter] = {}

    async def compose(
        self, database: DatabaseThread, claim: Claim, locale: str, date: int
    ) -> ReleaseLetter:
        """Return the letter of a batch in a locale, made the first time it is asked for.

        `date` is that of its Date header, in milliseconds since 1970. Raises NotComposed and
        Killed; it is made again then, when it is asked for again.
        """
        kind = (claim.release_id, claim.letter, locale)
        if kind not in self._letters:
            self._letters[kind] = asyncio.create_task(self._compose(database, *kind))
        try:
            undated = await asyncio.shield(self._letters[kind])
        except Exception:
            self._letters.pop(kind, None)
            raise
        if (kind, date) not in self._dated:
            while len(self._dated) >= _DATED_AT_MOST:
                del self._dated[next(iter(self._dated))]
            self._dated[kind, date] = self._dated_letter(undated, date)
        return self._dated[kind, date]

    def _dated_letter(self, undated: _Undated, date: int) -> ReleaseLetter:
        moment = datetime.fromtimestamp(date / 1000, UTC)
        composed = undated.composed.with_values({"date": message_date(moment)})
        return ReleaseLetter(
            _from_address=undated.publisher.from_address,
            _release_id=undated.release_id,
            _tokens=self.tokens,
            _return_paths=self.return_paths,
            _composed=self.signed(composed, undated.publisher, moment),
            _message_ids=undated.message_ids,
        )

    def press_room(self, publisher: Publisher) -> PressRoom:
        """Return what the letters need of a press room."""
        return press_room_of(publisher, self._base_url)

    def signed(self, composed: Composed, publisher: Publisher, moment: datetime) -> Composed:
        """Return the letter signed by the DKIM keys of its sender; `moment` is that of its Date."""
        return sign(composed, keys_for(self._dkim_keys, publisher.from_address), moment)

    async def _compose(
        self, database: DatabaseThread, release_id: int, kind: ReleaseKind, locale: str
    ) -> _Undated:
        versions = await database.run_in_session(
            partial(_versions, release_id=release_id, base_url=self._base_url)
        )
        locale = best(locale, versions.publisher.locale)
        if kind == "retraction":
            # It shows nothing of what was published but the title.
            story = replace(versions.story(), body_html="")
            room = self.press_room(versions.publisher)
            composed = self.letters.retraction(room, story, versions.replaced(), locale)
        else:
            request = versions.request(self._settings, kind)
            composed = Composed.unpacked(await _letter(database, release_id, request, locale))
        message_ids = {"message_id": MessageIds(versions.release)}
        if kind != "release":
            before, first = versions.before[0], versions.before[-1]
            message_ids |= {"in_reply_to": MessageIds(before), "thread": MessageIds(first)}
        return _Undated(release_id, versions.publisher, composed, message_ids)


def _versions(session: Session, release_id: int, base_url: str) -> ReleaseVersions:
    return ReleaseVersions.read(session, session.get_one(Release, release_id), base_url)


async def _letter(
    database: DatabaseThread, release_id: int, request: LetterRequest, locale: str
) -> dict[str, Any]:
    """Return the letter of a request as it is kept; else it is composed in all locales, and kept.

    A busy machine may kill once what composes, so it is tried twice; while others are composed, it
    waits. Raises NotComposed and Killed.
    """
    digest = composer.shared.sha256(request)
    found = partial(composition.kept, release_id=release_id, digest=digest, locale=locale)
    if (letter := await database.run_in_session(found)) is not None:
        return letter
    tries = 0
    letters: dict[str, dict[str, Any]] = {}
    while not letters:
        try:
            letters = await asyncio.to_thread(composer.shared.letters, request)
        except (NotComposed, Killed):
            tries += 1
            if tries == _TRIES:
                raise
        except Busy:
            log.warning("Letters of release %d wait to be composed.", release_id)
    keep = partial(composition.keep, release_id=release_id, letters={digest: letters})
    await database.run_in_session(keep)
    return letters[locale]
