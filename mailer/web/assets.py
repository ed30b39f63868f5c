"""The stylesheet and the icon, under addresses that change with their content."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from flask import Response, abort, make_response, request, url_for

from mailer.web import web

_FOLDER = Path(__file__).parent / "static"
_KINDS = {"site.css": "text/css", "icon.svg": "image/svg+xml"}
_DIGITS = 12
_A_YEAR = 365 * 24 * 3600


@web.get("/static/<name>")
def asset(name: str) -> Response:
    """Answer with a file, to be kept for ever if its version is the one asked for."""
    if name not in _KINDS:
        abort(404)
    content, version = _read(name)
    response = make_response(content)
    response.mimetype = _KINDS[name]
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
    content = (_FOLDER / name).read_bytes()
    return content, hashlib.sha256(content).hexdigest()[:_DIGITS]
