"""What every page comes with: one stylesheet, under an address that changes with its content."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from flask import Response, make_response, request, url_for

from mailer.web import web

_FILE = Path(__file__).parent / "static" / "site.css"
_DIGITS = 12
_A_YEAR = 365 * 24 * 3600


@web.get("/static/site.css")
def stylesheet() -> Response:
    """Answer with the stylesheet, to be kept for ever if its version is the one asked for."""
    content, version = _read()
    response = make_response(content)
    response.mimetype = "text/css"
    response.set_etag(version)
    # While a deploy is under way, the version asked for may be another process's.
    kept = request.args.get("v") == version
    response.headers["Cache-Control"] = (
        f"public, max-age={_A_YEAR}, immutable" if kept else "no-cache"
    )
    response.make_conditional(request)
    return response


@web.get("/favicon.ico")
def icon() -> Response:
    """Answer that there is none, which browsers would otherwise call a failure on every visit."""
    response = Response(status=204)
    response.headers["Cache-Control"] = f"public, max-age={_A_YEAR}"
    return response


def stylesheet_url() -> str:
    """Return the address of the stylesheet as it is now."""
    return url_for("web.stylesheet", v=_read()[1])


@cache
def _read() -> tuple[bytes, str]:
    content = _FILE.read_bytes()
    return content, hashlib.sha256(content).hexdigest()[:_DIGITS]
