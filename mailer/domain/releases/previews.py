"""A preview: a release as one recipient would get it, before anything is stored or sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from mailer.domain.releases.lint import Remark, lint
from mailer.domain.releases.release_body import ReleaseBody
from mailer.mail import composer
from mailer.mail.addresses import domain
from mailer.mail.compose import LetterRequest
from mailer.mail.content import Links, PressRoom
from mailer.mail.message import Composed, message_date
from mailer.storage.types import now

EXAMPLE_URL = "https://follow.example.org"
EXAMPLE_ROOM = PressRoom(
    name="Example Press Room",
    from_address="press@example.org",
    locale="en",
    page_url=f"{EXAMPLE_URL}/example/",
    website_url="https://example.org/",
    list_id="example.follow.example.org",
)
"""The press room of a preview for which none was chosen."""

RECIPIENT = "kari.nordmann@example.org"
_TOKEN = "example-of-a-link-that-opens-nothing-to-anybody"  # noqa: S105 - not a secret
"""About as long as a real token; its links lead to a page that says they are not valid."""
_CLIPPED_AT = 102_000
"""Octets of HTML after which Gmail hides the rest, including the link to unsubscribe."""


@dataclass(frozen=True, slots=True)
class Letter:
    """One locale of a preview, read back from the message as a mail program reads it."""

    subject: str
    html: str
    text: str
    message: bytes

    @property
    def html_octets(self) -> int:
        """Return the size of the HTML in octets, which Gmail limits."""
        return len(self.html.encode())

    def as_json(self) -> dict[str, object]:
        """Return plain JSON values; the message is UTF-8, and ASCII but for its addresses."""
        return {
            "subject": self.subject,
            "html": self.html,
            "text": self.text,
            "eml": self.message.decode(),
            "html_octets": self.html_octets,
            "message_octets": len(self.message),
        }


@dataclass(frozen=True, slots=True)
class Preview:
    """A release in every locale, and the warnings about it."""

    letters: Mapping[str, Letter]
    warnings: tuple[Remark, ...]

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "letters": {locale: letter.as_json() for locale, letter in self.letters.items()},
            "warnings": [asdict(warning) for warning in self.warnings],
        }


def preview(press_room: PressRoom, base_url: str, body: ReleaseBody) -> Preview:
    """Compose a release for an example recipient, in every locale.

    Nothing is fetched, stored or sent. The message has no DKIM signature, since the press room
    does not send it. Raises NotComposed and Busy.
    """
    request = LetterRequest(
        "release", press_room, Links.under(base_url), body.story(body.published(now()))
    )
    letters = {
        locale: _read(_filled(Composed.unpacked(letter), press_room))
        for locale, letter in composer.shared.letters(request).items()
    }
    return Preview(letters, (*lint(body), *_about_size(letters)))


def _filled(composed: Composed, press_room: PressRoom) -> bytes:
    return composed.fill(
        {
            "to": RECIPIENT,
            "date": message_date(now()),
            "message_id": f"preview@{domain(press_room.from_address)}",
            "unsubscribe_token": _TOKEN,
            "one_click_token": _TOKEN,
        }
    )


def _read(message: bytes) -> Letter:
    parsed = message_from_bytes(message, policy=policy.default)
    return Letter(
        subject=str(parsed["Subject"]),
        html=_part(parsed, "html"),
        text=_part(parsed, "plain"),
        message=message,
    )


def _part(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    return str(part.get_content()).replace("\r\n", "\n") if part else ""


def _about_size(letters: Mapping[str, Letter]) -> tuple[Remark, ...]:
    largest = max(letter.html_octets for letter in letters.values())
    if largest <= _CLIPPED_AT:
        return ()
    return (
        Remark(
            "body_html",
            f"The HTML has {largest:,} octets; Gmail shows the first {_CLIPPED_AT:,} "
            "and hides the rest, with the link to unsubscribe.",
        ),
    )
