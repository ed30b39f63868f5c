"""What a reader wants to know of a file before opening it: its kind and its size."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from babel.units import format_unit

from mailer.mail.values import Document

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
