"""Formats for templates: the kind and size of a file; links to share, to write and to call."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from urllib.parse import quote, urlencode, urlsplit

from babel.units import format_unit

from mailer.mail.content import Document

_KINDS = frozenset(
    {"csv", "doc", "docx", "epub", "jpg", "mp3", "mp4", "odp", "ods", "odt", "pdf", "png"}
    | {"pptx", "rtf", "svg", "tif", "txt", "wav", "xlsx", "zip"}
)
_UNITS = (
    (10**9, "digital-gigabyte", "#,##0.#"),
    (10**6, "digital-megabyte", "#,##0.#"),
    (10**3, "digital-kilobyte", "#,##0"),
)


def file_description(document: Document, locale: str) -> str:
    """Return kind and size, such as "PDF, 1.2 MB", without a kind that the title has; or ""."""
    kind = PurePosixPath(urlsplit(document.url).path).suffix.removeprefix(".").lower()
    title_words = re.split(r"\W", document.title.lower())
    parts = [kind.upper()] if kind in _KINDS and kind not in title_words else []
    if document.size is not None:
        parts.append(_size(document.size, locale))
    return ", ".join(parts)


def _size(octets: int, locale: str) -> str:
    """Format a size for a locale, in the largest unit that fits into it, and at least 1 kB."""
    octets = max(octets, 10**3)
    factor, unit, pattern = next(one for one in _UNITS if octets >= one[0])
    size = format_unit(octets / factor, unit, length="short", format=pattern, locale=locale)
    return size.replace(" ", "\N{NO-BREAK SPACE}")


def share_links(title: str, url: str) -> dict[str, str]:
    """Return plain links to share a story; they tell no site which reader used them."""
    return {
        "email": f"mailto:?{urlencode({'subject': title, 'body': url}, quote_via=quote)}",
        "x": "https://x.com/intent/post?" + urlencode({"text": title, "url": url}, quote_via=quote),
        "linkedin": f"https://www.linkedin.com/sharing/share-offsite/?{urlencode({'url': url})}",
        "facebook": f"https://www.facebook.com/sharer/sharer.php?{urlencode({'u': url})}",
    }


def mailto(address: str) -> str:
    """Return the link to write to an address (RFC 6068)."""
    return "mailto:" + quote(address, safe="@")


def tel(phone: str) -> str:
    """Return the link to call a number, with its digits and plus signs only (RFC 3966)."""
    return "tel:" + re.sub(r"[^+\d]", "", phone)
