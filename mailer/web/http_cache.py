"""HTTP caching: public pages for one minute, static files for one year."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import cache
from pathlib import Path

from flask import Response, abort, make_response, request
from flask.blueprints import BlueprintSetupState
from werkzeug.http import is_resource_modified

from mailer.config import TEMPLATES
from mailer.storage.models import Publisher, Release
from mailer.web import web
from mailer.web.pages import get_locale

_CACHE_CONTROL = "public, max-age=60"  # seconds: visitors soon see a correction
_DIGITS = 32
_STATIC = Path(__file__).parent / "static"
_STATIC_TYPES = {"site.css": "text/css", "icon.svg": "image/svg+xml"}
_STATIC_DIGITS = 12
_A_YEAR = 365 * 24 * 3600


def conditional_response(
    render: Callable[[], Response],
    changed_at: datetime,
    publisher: Publisher,
    releases: Iterable[Release],
    *more: object,
) -> Response:
    """Answer 304, without rendering, if the visitor's copy is current (RFC 9110, section 13).

    The page is determined by the press room's row, by these releases, which never change, and by
    `more`; the ETag is computed from these, the language and the files that make the pages.
    """
    room = [getattr(publisher, column.key) for column in Publisher.__table__.columns]
    shown = [(release.id, release.letter) for release in releases]
    content = repr((_pages_hash(), get_locale(), room, shown, more)).encode(errors="replace")
    etag = hashlib.sha256(content).hexdigest()[:_DIGITS]
    modified = is_resource_modified(request.environ, etag=etag, last_modified=changed_at)
    response = render() if modified else Response(status=304)
    # Weak, because two renderings of one page may differ in white space.
    response.set_etag(etag, weak=True)
    response.last_modified = changed_at
    response.headers["Cache-Control"] = _CACHE_CONTROL
    return response


@cache
def _pages_hash() -> bytes:
    """Hash templates/web, the catalogues, and the code and static files of mailer/web."""
    folders = (TEMPLATES / "web", TEMPLATES / "locales", Path(__file__).parent)
    files = sorted(path for folder in folders for path in folder.rglob("*.*") if path.is_file())
    content = b"".join(path.read_bytes() for path in files if path.suffix != ".pyc")
    return hashlib.sha256(content).digest()


@web.get("/static/<name>")
def asset(name: str) -> Response:
    """Answer with a static file, cacheable for a year if `v` is its current version."""
    if name not in _STATIC_TYPES:
        abort(404)
    content, version = _read(name)
    response = make_response(content)
    response.mimetype = _STATIC_TYPES[name]
    response.set_etag(version)
    # During a deploy, `v` may be the version of a process that runs other code.
    current = request.args.get("v") == version
    response.headers["Cache-Control"] = (
        f"public, max-age={_A_YEAR}, immutable" if current else "no-cache"
    )
    response.make_conditional(request)
    return response


def asset_url(name: str) -> str:
    """Return the URL of the current version of a static file."""
    # Not by url_for, which fails for a Host that is no host name; the page that says so needs it.
    return f"/static/{name}?v={_read(name)[1]}"


@cache
def _read(name: str) -> tuple[bytes, str]:
    content = (_STATIC / name).read_bytes()
    return content, hashlib.sha256(content).hexdigest()[:_STATIC_DIGITS]


@web.record_once
def _prepare_templates(state: BlueprintSetupState) -> None:
    """Give all templates the function `asset_url`."""
    state.app.jinja_env.globals["asset_url"] = asset_url
