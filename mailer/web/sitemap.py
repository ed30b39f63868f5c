"""What search engines are told: every page that may be found, and those that may not."""

from __future__ import annotations

from flask import Response, make_response, render_template, request

from mailer.domain import archive
from mailer.errors import NotFound
from mailer.web import web
from mailer.web.headers import token_doors
from mailer.web.languages import address

PLACES_A_FILE = 50_000
"""The most that sitemaps.org allows."""

_KEPT = "public, max-age=3600"


@web.get("/robots.txt")
def robots() -> Response:
    """Name the sitemap, and keep robots away from what is somebody's own (RFC 9309)."""
    doors = [f"Disallow: /{door}/" for door in token_doors()]
    lines = ["User-agent: *", *doors, "", f"Sitemap: {address('web.sitemap')}", ""]
    return _kept("\n".join(lines), "text/plain")


@web.get("/sitemap.xml")
def sitemap() -> Response:
    """List every page, or where the parts of the list are, if there are too many for one file."""
    files = -(-archive.count_places() // PLACES_A_FILE)
    if files > 1:
        index = render_template("web/sitemap-index.xml", files=range(1, files + 1))
        return _kept(index, "application/xml")
    return part(1)


@web.get("/sitemap-<int:number>.xml")
def part(number: int) -> Response:
    """List one part of all pages, counted from 1. Raises NotFound beyond the last."""
    in_reach = 1 <= number <= PLACES_A_FILE
    places = archive.places(number, PLACES_A_FILE) if in_reach else []
    if not places and number != 1:
        raise NotFound(f"There is no part {number}.")
    return _kept(render_template("web/sitemap.xml", places=places), "application/xml")


def _kept(text: str, mimetype: str) -> Response:
    response = make_response(text)
    response.mimetype = mimetype
    response.headers["Cache-Control"] = _KEPT
    response.add_etag(weak=True)
    response.make_conditional(request)
    return response
