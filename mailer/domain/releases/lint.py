"""Lint: warnings about a release before it is sent; they never refuse it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser

from mailer.domain.releases.release_body import Image, ReleaseBody

SUBJECT_LENGTH = 60
"""Characters of a subject that inboxes on a phone show, more or less."""
WORD_LENGTH = 40
"""Characters that fit on a line of 320 pixels."""
_LETTERS_WORTH_READING = 20
_SHOWN = 60

# Chinese, Japanese, Korean, Thai and similar scripts break a line between any two characters.
_LONG_WORD = re.compile(
    r"[^\s\u00ad\u200b\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\ufaff\U00020000-\U0003ffff-]"
    f"{{{WORD_LENGTH + 1},}}"
)
_FILE_NAME = re.compile(r"\S+\.(?:avif|bmp|gif|heic|jpe?g|png|svg|tiff?|webp)", re.IGNORECASE)
_NUMBERED = re.compile(r"[a-z]{0,5}[ _-]?\d+", re.IGNORECASE)
_SAYS_NOTHING = frozenset(
    {"alt", "bilde", "bilete", "foto", "fotografi", "graphic", "icon", "illustrasjon", "image"}
    | {"illustration", "img", "logo", "photo", "photograph", "pic", "picture", "untitled"}
)
_INLINE = frozenset({"a", "b", "em", "i", "span", "strong", "sub", "sup"})


@dataclass(frozen=True, slots=True)
class Remark:
    """A warning: one sentence about one field."""

    field: str
    message: str


def lint(body: ReleaseBody) -> tuple[Remark, ...]:
    """Return warnings about the subject, pictures, links, long words and lack of text."""
    reader = _BodyReader()
    reader.feed(body.body_html)
    reader.close()
    return (
        *_about_subject(body),
        *_about_pictures(body, reader),
        *_about_links(body, reader),
        *_about_words(body, reader),
        *_about_text(reader),
    )


def _about_subject(body: ReleaseBody) -> Iterator[Remark]:
    if len(body.title) > SUBJECT_LENGTH:
        yield Remark(
            "title",
            f"The subject has {len(body.title)} characters; "
            f"many inboxes show about {SUBJECT_LENGTH}.",
        )


def _about_pictures(body: ReleaseBody, reader: _BodyReader) -> Iterator[Remark]:
    for field, image in _pictures(body).items():
        if not _describes(image.alt):
            yield Remark(
                f"{field}.alt", "This does not say what the picture shows, to those who see none."
            )
    if silent := [url for url, alt in reader.pictures if not _describes(alt)]:
        yield Remark(
            "body_html",
            f"A picture has no alternative text that says what it shows: {_named(silent)}",
        )


def _pictures(body: ReleaseBody) -> dict[str, Image]:
    """Return the pictures outside body_html, by the path of their fields."""
    first = {"image": body.image} if body.image else {}
    return first | {f"images.{place}": one for place, one in enumerate(body.images)}


def _describes(alternative: str | None) -> bool:
    text = (alternative or "").strip()
    return bool(text) and not (
        text.lower().rstrip(".:") in _SAYS_NOTHING
        or _FILE_NAME.fullmatch(text)
        or _NUMBERED.fullmatch(text)
    )


def _about_links(body: ReleaseBody, reader: _BodyReader) -> Iterator[Remark]:
    in_fields = {
        **{f"{field}.url": image.url for field, image in _pictures(body).items()},
        "source.url": body.source.url if body.source else None,
        **{f"documents.{place}.url": one.url for place, one in enumerate(body.documents)},
        "web_url": body.web_url,
    }
    for field, url in in_fields.items():
        if url is not None and _in_the_clear(url):
            yield Remark(field, f"This address does not begin with https://: {_named([url])}")
    in_body = [url for url, _ in (*reader.links, *reader.pictures)]
    if clear := [url for url in in_body if _in_the_clear(url)]:
        yield Remark("body_html", f"An address does not begin with https://: {_named(clear)}")
    if empty := [url or "nowhere" for url, label in reader.links if not (url and label.strip())]:
        yield Remark(
            "body_html", f"A link has no text to click on, or leads nowhere: {_named(empty)}"
        )


def _in_the_clear(url: str) -> bool:
    return url.lower().startswith("http://")


def _about_words(body: ReleaseBody, reader: _BodyReader) -> Iterator[Remark]:
    texts = {
        "title": body.title,
        "lead": body.lead,
        "body_html": reader.text,
        **{f"{field}.caption": image.caption for field, image in _pictures(body).items()},
        **{f"documents.{place}.title": one.title for place, one in enumerate(body.documents)},
    }
    for field, text in texts.items():
        if long := _LONG_WORD.findall(text or ""):
            yield Remark(field, f"A word is too long for the line of a phone: {_named(long)}")


def _about_text(reader: _BodyReader) -> Iterator[Remark]:
    if sum(map(str.isalpha, reader.text)) < _LETTERS_WORTH_READING:
        yield Remark("body_html", "There is hardly any text, for those who see no pictures.")


def _named(found: list[str]) -> str:
    """Quote the first item, so that it can be found in the release, and count the others."""
    first = f"{found[0][:_SHOWN]}…" if len(found[0]) > _SHOWN else found[0]
    return f"{first}, and {len(found) - 1} more." if len(found) > 1 else f"{first}."


class _BodyReader(HTMLParser):
    """Reads the text, the links with their labels, and the pictures of a cleaned body."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._pieces: list[str] = []
        self.links: list[tuple[str, str]] = []
        self.pictures: list[tuple[str, str]] = []
        self._link: str | None = None
        self._label: list[str] = []

    @property
    def text(self) -> str:
        """The text that was read so far."""
        return "".join(self._pieces)

    def handle_data(self, data: str) -> None:
        """Gather text, and the label of an open link."""
        self._pieces.append(data)
        self._label.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open a link, or note a picture; a picture with a description is a label too."""
        attributes = {name: value or "" for name, value in attrs}
        if tag == "a":
            self._link, self._label = attributes.get("href", ""), []
        elif tag == "img":
            self.pictures.append((attributes.get("src", ""), attributes.get("alt", "")))
            self._label.append(attributes.get("alt", ""))
        if tag not in _INLINE:
            self._pieces.append(" ")

    def handle_endtag(self, tag: str) -> None:
        """Close a link."""
        if tag == "a" and self._link is not None:
            self.links.append((self._link, "".join(self._label)))
            self._link = None
        if tag not in _INLINE:
            self._pieces.append(" ")
