"""The body of a release as the publishing system sends it, and what each field may hold."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from datetime import UTC, datetime
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    ValidationError,
)

from mailer.domain.releases.stored_release import read_story
from mailer.errors import InvalidAddress, InvalidInput, NotComposed
from mailer.mail import composer, content
from mailer.mail.addresses import canonical
from mailer.mail.html import limits, sanitize

# Invisible characters that reverse the direction of a line, or split it.
_UNSEEN = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u2028\u2029")

_YEARS = range(1970, 2200)


def _line(text: str) -> str:
    text = text.strip()
    if not text:
        raise ValueError("This may not be empty.")
    if unprintable(text):
        raise ValueError("Write one line, without control characters.")
    return text


def unprintable(text: str) -> bool:
    """Tell whether a text holds control characters, surrogates or _UNSEEN characters."""
    return any(unicodedata.category(one) in ("Cc", "Cs") or one in _UNSEEN for one in text)


def _body(html: str) -> str:
    if sanitize.controlled(html):
        raise ValueError("The text holds control characters.")
    if too_much := limits.excess(html):
        raise ValueError(too_much)
    try:
        return composer.shared.read(html).html
    except NotComposed as problem:
        raise ValueError(str(problem)) from None


def web_address(url: str) -> str:
    """Return a full http or https URL unchanged; raises ValueError with a sentence."""
    try:
        parts = urlsplit(_line(url))
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or any(one.isspace() or one in "<>\"'\\`{}|^" for one in url):
        raise ValueError("Give a full web address, beginning with https://.")
    return url


def _written_out(value: object) -> object:
    """Require an ISO 8601 time: pydantic would read a number as seconds since 1970."""
    if not isinstance(value, str) or not re.match(r"\d{4}-\d\d-\d\d[Tt ]", value):
        raise ValueError("Write a time as 2026-01-31T12:00:00+01:00.")
    return value


def _moment(moment: datetime) -> datetime:
    if moment.year not in _YEARS:
        raise ValueError(f"Give a time between {_YEARS.start} and {_YEARS.stop - 1}.")
    return moment


def _email_address(address: str) -> str:
    try:
        return canonical(address)
    except InvalidAddress as problem:
        raise ValueError(str(problem)) from None


Line = Annotated[str, Field(max_length=255), AfterValidator(_line)]
Paragraph = Annotated[str, Field(max_length=2_000), AfterValidator(_line)]
WebAddress = Annotated[str, Field(max_length=2_000), AfterValidator(web_address)]
EmailAddress = Annotated[str, Field(max_length=320), AfterValidator(_email_address)]
Moment = Annotated[AwareDatetime, BeforeValidator(_written_out), AfterValidator(_moment)]
Pixels = Annotated[StrictInt, Field(ge=1, le=20_000)]
Octets = Annotated[StrictInt, Field(ge=1, le=10**12)]
Language = Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$", max_length=35)]
Reference = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._~-]{0,199}$")]


class _Part(BaseModel):
    """The base of every JSON object in a release; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def read(cls, given: Any) -> Self:
        """Validate decoded JSON, its HTML in another process, with limits (`mail.composer`).

        Raises InvalidInput with a sentence for each invalid field, and Busy.
        """
        if not isinstance(given, dict):
            raise InvalidInput({"": "Send one JSON object."})
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            raise InvalidInput(sentences(error)) from None


class Image(_Part):
    """A picture of a release, by its URL; this service never fetches it."""

    url: WebAddress
    alt: Paragraph
    width: Pixels | None = None
    height: Pixels | None = None
    caption: Paragraph | None = None
    credit: Line | None = None


class Source(_Part):
    """Where the story comes from."""

    text: Paragraph
    url: WebAddress | None = None


class Contact(_Part):
    """A contact person for journalists."""

    name: Line
    title: Line | None = None
    email: EmailAddress | None = None
    phone: Line | None = None


class Document(_Part):
    """A file that goes with the release, by its URL; `size` in octets."""

    title: Line
    url: WebAddress
    size: Octets | None = None


class Retraction(_Part):
    """What the call says that takes a release back: why."""

    note: Paragraph | None = None


class ReleaseBody(_Part):
    """Everything that a publishing system sends about one release."""

    reference: Reference
    language: Language
    title: Line
    lead: Paragraph | None = None
    body_html: Annotated[str, Field(max_length=1_048_576), AfterValidator(_body)]
    image: Image | None = None
    images: Annotated[tuple[Image, ...], Field(max_length=20)] = ()
    source: Source | None = None
    keywords: Annotated[tuple[Line, ...], Field(max_length=50)] = ()
    contacts: Annotated[tuple[Contact, ...], Field(max_length=20)] = ()
    documents: Annotated[tuple[Document, ...], Field(max_length=50)] = ()
    web_url: WebAddress | None = None
    published_at: Moment | None = None
    note: Paragraph | None = None
    """What is different from the version before, or why it is retracted; not in a first version."""
    notify: StrictBool = True
    hold_minutes: Annotated[StrictInt, Field(ge=0, le=1_440)] | None = None
    again: StrictBool = False
    """Whether the same content may be mailed again under another reference; it is not stored."""

    def stored(self) -> dict[str, Any]:
        """Return the validated content as plain JSON values."""
        return self.model_dump(mode="json", exclude={"again"})

    def sha256(self) -> str:
        """Return the hex digest by which the same content is recognised; published_at in UTC.

        Fields with their default value are left out, so that new fields do not change digests.
        """
        plain = self.model_dump(mode="json", exclude_defaults=True, exclude={"again"})
        if self.published_at is not None:
            plain["published_at"] = self.published_at.astimezone(UTC).isoformat()
        return digest(plain)

    def story_sha256(self) -> str:
        """Return the hex digest of all but the reference and times: what a reader would get."""
        apart = {"again", "reference", "published_at", "hold_minutes"}
        return digest(self.model_dump(mode="json", exclude_defaults=True, exclude=apart))

    def story(
        self, published_at: datetime, latest: tuple[content.Headline, ...] = ()
    ) -> content.Story:
        """Return what letters need of a release, as plain values."""
        return read_story(self.model_dump(), published_at, latest)

    def published(self, fallback: datetime) -> datetime:
        """Return the moment of publication, or the fallback if the body names none."""
        return self.published_at or fallback


def digest(plain: dict[str, Any]) -> str:
    """Return the hex digest of JSON values."""
    text = json.dumps(plain, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


_SENTENCES = {
    "missing": "This field is missing.",
    "extra_forbidden": "There is no such field.",
    "string_type": "This must be text.",
    "string_unicode": "This text is not valid Unicode.",
}


def sentences(error: ValidationError) -> dict[str, str]:
    """Return a sentence for each invalid field, by the path of the field."""
    problems: dict[str, str] = {}
    for problem in error.errors(include_url=False, include_input=False, include_context=False):
        message = _SENTENCES.get(problem["type"], problem["msg"].removeprefix("Value error, "))
        path = ".".join(str(part) for part in problem["loc"])
        problems[path] = message if message.endswith(".") else f"{message}."
    return problems
