"""Cache headers: pages that are kept for a minute, static files that are kept for a year."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import cache
from pathlib import Path

from flask import Response, abort, make_response, request, url_for
from flask.blueprints import BlueprintSetupState
from werkzeug.http import is_resource_modified

from mailer.config import TEMPLATES
from mailer.storage.models import Publisher, Release
from mailer.web import web
from mailer.web.pages import get_locale

_KEPT = "public, max-age=60"  # seconds, so that a correction is soon seen by everybody
_DIGITS = 32
_STATIC = Path(__file__).parent / "static"
_STATIC_TYPES = {"site.css": "text/css", "icon.svg": "image/svg+xml"}
_STATIC_DIGITS = 12
_A_YEAR = 365 * 24 * 3600


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
    content = repr((_edition(), get_locale(), room, shown, more)).encode(errors="replace")
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


@web.get("/static/<name>")
def asset(name: str) -> Response:
    """Answer with a file, to be kept for ever if its version is the one asked for."""
    if name not in _STATIC_TYPES:
        abort(404)
    content, version = _read(name)
    response = make_response(content)
    response.mimetype = _STATIC_TYPES[name]
    response.set_etag(version)
    # While a deploy is under way, the version asked for may be another process's.
    kept = request.args.get("v") == version
    response.headers["Cache-Control"] = (
        f"public, max-age={_A_YEAR}, immutable" if kept else "no-cache"
    )
    response.make_conditional(request)
    return response


def asset_url(name: str) -> str:
    """Return the address of a file as it is now."""
    return url_for("web.asset", name=name, v=_read(name)[1])


@cache
def _read(name: str) -> tuple[bytes, str]:
    content = (_STATIC / name).read_bytes()
    return content, hashlib.sha256(content).hexdigest()[:_STATIC_DIGITS]


@web.record_once
def _prepare_templates(state: BlueprintSetupState) -> None:
    """Let every template name a static file by its present address."""
    state.app.jinja_env.globals["asset_url"] = asset_url
