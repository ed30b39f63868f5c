"""How long a page may be kept, and how whoever kept it learns that it is still good."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import cache
from pathlib import Path

from flask import Response, request
from werkzeug.http import is_resource_modified

from mailer.config import TEMPLATES
from mailer.storage.models import Publisher, Release
from mailer.web.pages import spoken

_KEPT = "public, max-age=60"  # seconds, so that a correction is soon seen by everybody
_DIGITS = 32


def fresh(
    render: Callable[[], Response],
    changed_at: datetime,
    publisher: Publisher,
    releases: Iterable[Release],
    *more: object,
) -> Response:
    """Answer 304 before anything is rendered, if what the visitor has is good (RFC 9110, 13).

    What is shown follows from the press room's row, from these releases, which never change, and
    from what else is given.
    """
    room = [getattr(publisher, column.key) for column in Publisher.__table__.columns]
    shown = [(release.id, release.letter) for release in releases]
    content = repr((_edition(), spoken(), room, shown, more)).encode(errors="replace")
    etag = hashlib.sha256(content).hexdigest()[:_DIGITS]
    modified = is_resource_modified(request.environ, etag=etag, last_modified=changed_at)
    response = render() if modified else Response(status=304)
    # Weak, because the same page may be rendered by a template of other white space.
    response.set_etag(etag, weak=True)
    response.last_modified = changed_at
    response.headers["Cache-Control"] = _KEPT
    return response


@cache
def _edition() -> bytes:
    """Name the pages as they are since the last deploy: their words, their looks, their code."""
    folders = (TEMPLATES / "web", TEMPLATES / "locales", Path(__file__).parent)
    files = sorted(path for folder in folders for path in folder.rglob("*.*") if path.is_file())
    kept = b"".join(path.read_bytes() for path in files if path.suffix != ".pyc")
    return hashlib.sha256(kept).digest()
