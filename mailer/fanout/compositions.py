"""Compositions: where rows and letters meet, each release composed once per locale."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from sqlalchemy.orm import Session

from mailer.config import TEMPLATES, Settings
from mailer.domain.content import ReleaseBody
from mailer.domain.links import Links
from mailer.fanout.latest import latest
from mailer.fanout.ledger import Ledger
from mailer.mail import letters
from mailer.mail.dkim import serving, sign
from mailer.mail.message import Composed
from mailer.storage.models import Publisher, Release

_MESSAGE_ID_OCTETS = 20

Latest = tuple[letters.Headline, ...]


@dataclass(frozen=True, slots=True)
class Composition:
    """A release letter in one locale, ready for any number of recipients."""

    sender: str
    _links: Links
    _composed: Composed
    _message_ids: HMAC
    _message_domain: str

    def message(self, subscription_id: int, address: str) -> bytes:
        """Return the same message for the same recipient at every attempt; or `UnsafeValue`."""
        numbering = self._message_ids.copy()
        numbering.update(b"%d" % subscription_id)
        local = numbering.finalize()[:_MESSAGE_ID_OCTETS].hex()
        return self._composed.fill(
            {
                "to": address,
                "message_id": f"{local}@{self._message_domain}",
                "unsubscribe_token": self._links.token("unsubscribe", subscription_id),
                "one_click_token": self._links.token("one-click", subscription_id),
            }
        )


class Compositor:
    """Composes letters for one process, and keeps the releases that are going out."""

    def __init__(self, settings: Settings) -> None:
        self.links = Links(settings)
        self._base_url = settings.base_url
        self._dkim_keys = settings.dkim_keys
        self.letters = letters.Letters(
            TEMPLATES,
            letters.Links(
                confirm=self.links.prefix("confirm"),
                unsubscribe=self.links.prefix("unsubscribe"),
                one_click=self.links.prefix("one-click"),
            ),
        )
        self._kept: dict[tuple[int, str], Composition] = {}

    async def release(self, ledger: Ledger, release_id: int, locale: str) -> Composition:
        """Return a release in a locale, composed the first time it is asked for."""
        key = (release_id, locale)
        if key not in self._kept:
            rows = await ledger.transact(lambda session: self._rows(session, release_id))
            self._kept[key] = self._compose(*rows, locale)
        return self._kept[key]

    def press_room(self, publisher: Publisher) -> letters.PressRoom:
        """Describe a publisher to the letters."""
        host = urlsplit(self._base_url).hostname or "localhost"
        return letters.PressRoom(
            name=publisher.name,
            from_address=publisher.from_address,
            locale=publisher.locale,
            page_url=f"{self._base_url}/{publisher.slug}/",
            website_url=publisher.website_url,
            list_id=f"{publisher.slug}.{host}",
            logo_url=publisher.logo_url,
            accent=publisher.accent,
        )

    def signed(self, composed: Composed, publisher: Publisher, moment: datetime) -> Composed:
        """Have a letter signed by the keys that serve its sender, at the moment of its Date."""
        return sign(composed, serving(self._dkim_keys, publisher.from_address), moment)

    def _rows(self, session: Session, release_id: int) -> tuple[Release, Publisher, Latest]:
        release = session.get_one(Release, release_id)
        publisher = session.get_one(Publisher, release.publisher_id)
        return release, publisher, latest(session, release, f"{self._base_url}/{publisher.slug}")

    def _compose(
        self, release: Release, publisher: Publisher, others: Latest, locale: str
    ) -> Composition:
        body = ReleaseBody.model_validate(release.content)
        story = story_of(body, body.published_at or release.published_at, others)
        composed = self.letters.release(self.press_room(publisher), story, locale)
        moment = release.frozen_at or release.starts_at
        return Composition(
            sender=publisher.from_address,
            _links=self.links,
            _composed=self.signed(
                composed.given({"date": message_date(moment)}), publisher, moment
            ),
            _message_ids=HMAC(release.message_key, SHA256()),
            _message_domain=release.message_domain,
        )


def message_date(moment: datetime) -> str:
    """Write a moment as a Date header does (RFC 5322 section 3.3)."""
    return format_datetime(moment.replace(microsecond=0))


def story_of(body: ReleaseBody, published_at: datetime, others: Latest = ()) -> letters.Story:
    """Hand a validated release over to the letters, as plain values."""
    return letters.Story(
        language=body.language,
        title=body.title,
        lead=body.lead,
        body_html=body.body_html,
        image=letters.Image(**body.image.model_dump()) if body.image else None,
        images=tuple(letters.Image(**image.model_dump()) for image in body.images),
        source=letters.Source(**body.source.model_dump()) if body.source else None,
        keywords=body.keywords,
        contacts=tuple(letters.Contact(**contact.model_dump()) for contact in body.contacts),
        documents=tuple(letters.Document(**document.model_dump()) for document in body.documents),
        web_url=body.web_url,
        published_at=published_at,
        latest=others,
    )
