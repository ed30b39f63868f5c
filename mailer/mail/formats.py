"""How files and links are shown: kind and size of a file; links that share, write or call."""

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


def described(document: Document, locale: str) -> str:
    """Return such as "PDF, 1.2 MB": what the title does not say already, perhaps nothing."""
    kind = PurePosixPath(urlsplit(document.url).path).suffix.removeprefix(".").lower()
    said = re.split(r"\W", document.title.lower())
    told = [kind.upper()] if kind in _KINDS and kind not in said else []
    if document.size is not None:
        told.append(_size(document.size, locale))
    return ", ".join(told)


def _size(octets: int, locale: str) -> str:
    """Write a size as the locale does, in the largest unit of which it is one or more."""
    octets = max(octets, 10**3)
    factor, unit, pattern = next(one for one in _UNITS if octets >= one[0])
    told = format_unit(octets / factor, unit, length="short", format=pattern, locale=locale)
    return told.replace(" ", "\N{NO-BREAK SPACE}")


def share_links(title: str, url: str) -> dict[str, str]:
    """Return plain links for passing a story on; nobody learns who followed them."""
    return {
        "email": f"mailto:?{urlencode({'subject': title, 'body': url}, quote_via=quote)}",
        "x": "https://x.com/intent/post?" + urlencode({"text": title, "url": url}, quote_via=quote),
        "linkedin": f"https://www.linkedin.com/sharing/share-offsite/?{urlencode({'url': url})}",
        "facebook": f"https://www.facebook.com/sharer/sharer.php?{urlencode({'u': url})}",
    }


def mailto(address: str) -> str:
    """Return the link that writes to an address (RFC 6068)."""
    return "mailto:" + quote(address, safe="@")


def tel(phone: str) -> str:
    """Return the link that calls a number, whatever stands between its digits (RFC 3966)."""
    return "tel:" + re.sub(r"[^+\d]", "", phone)
