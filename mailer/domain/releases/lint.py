"""Lint: warnings about a release before it is sent; they never refuse it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from mailer.domain.releases.release_body import Image, ReleaseBody
from mailer.mail import composer
from mailer.mail.html.reader import ReadBody

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


@dataclass(frozen=True, slots=True)
class Remark:
    """A warning: one sentence about one field."""

    field: str
    message: str


def lint(body: ReleaseBody) -> tuple[Remark, ...]:
    """Return warnings about the subject, pictures, links, long words and lack of text."""
    html = composer.shared.read(body.body_html)
    return (
        *_about_subject(body),
        *_about_pictures(body, html),
        *_about_links(body, html),
        *_about_words(body, html),
        *_about_text(html),
    )


def _about_subject(body: ReleaseBody) -> Iterator[Remark]:
    if len(body.title) > SUBJECT_LENGTH:
        yield Remark(
            "title",
            f"The subject has {len(body.title)} characters; "
            f"many inboxes show about {SUBJECT_LENGTH}.",
        )


def _about_pictures(body: ReleaseBody, html: ReadBody) -> Iterator[Remark]:
    for field, image in _pictures(body).items():
        if not _describes(image.alt):
            yield Remark(
                f"{field}.alt", "This does not say what the picture shows, to those who see none."
            )
    if silent := [url for url, alt in html.pictures if not _describes(alt)]:
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


def _about_links(body: ReleaseBody, html: ReadBody) -> Iterator[Remark]:
    in_fields = {
        **{f"{field}.url": image.url for field, image in _pictures(body).items()},
        "source.url": body.source.url if body.source else None,
        **{f"documents.{place}.url": one.url for place, one in enumerate(body.documents)},
        "web_url": body.web_url,
    }
    for field, url in in_fields.items():
        if url is not None and _in_the_clear(url):
            yield Remark(field, f"This address does not begin with https://: {_named([url])}")
    in_body = [url for url, _ in (*html.links, *html.pictures)]
    if clear := [url for url in in_body if _in_the_clear(url)]:
        yield Remark("body_html", f"An address does not begin with https://: {_named(clear)}")
    if empty := [url or "nowhere" for url, label in html.links if not (url and label.strip())]:
        yield Remark(
            "body_html", f"A link has no text to click on, or leads nowhere: {_named(empty)}"
        )


def _in_the_clear(url: str) -> bool:
    return url.lower().startswith("http://")


def _about_words(body: ReleaseBody, html: ReadBody) -> Iterator[Remark]:
    texts = {
        "title": body.title,
        "lead": body.lead,
        "body_html": html.text,
        **{f"{field}.caption": image.caption for field, image in _pictures(body).items()},
        **{f"documents.{place}.title": one.title for place, one in enumerate(body.documents)},
    }
    for field, text in texts.items():
        if long := _LONG_WORD.findall(text or ""):
            yield Remark(field, f"A word is too long for the line of a phone: {_named(long)}")


def _about_text(html: ReadBody) -> Iterator[Remark]:
    if sum(map(str.isalpha, html.text)) < _LETTERS_WORTH_READING:
        yield Remark("body_html", "There is hardly any text, for those who see no pictures.")


def _named(found: list[str]) -> str:
    """Quote the first item, so that it can be found in the release, and count the others."""
    first = f"{found[0][:_SHOWN]}…" if len(found[0]) > _SHOWN else found[0]
    return f"{first}, and {len(found) - 1} more." if len(found) > 1 else f"{first}."
