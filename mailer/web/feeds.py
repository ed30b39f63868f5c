"""What programs read of the pages: a feed (Atom, RFC 4287), the sitemap and robots.txt."""

from __future__ import annotations

from flask import Response, make_response, render_template, request

from mailer.domain.releases import press_rooms
from mailer.domain.releases.press_rooms import Page, changed_at
from mailer.errors import NotFound
from mailer.mail.locales import best
from mailer.storage.models import Publisher, Release
from mailer.web import web
from mailer.web.headers import token_doors
from mailer.web.http_cache import fresh
from mailer.web.languages import address
from mailer.web.pages import get_locale, set_locale

ENTRIES_A_FILE = 50_000
"""The most that sitemaps.org allows."""

_KEPT = "public, max-age=3600"
_ENTRIES = 20
# What XML may not hold although it is no control character.
_NO_CHARACTERS = dict.fromkeys((0xFFFE, 0xFFFF))


@web.get("/<slug>/feed.atom")
def feed(slug: str) -> Response:
    """Answer with the latest releases, in the language of the press room or the one asked for."""
    page = press_rooms.page(slug, _ENTRIES)
    # A feed reader asks for many people, so what it would like to read says nothing.
    set_locale(best(request.args.get("locale"), page.publisher.locale))
    return fresh(lambda: _atom(page), page.changed_at, page.publisher, page.releases)


def _atom(page: Page) -> Response:
    body = render_template(
        "web/feed.atom",
        locale=get_locale(),
        publisher=page.publisher,
        page=page,
        changed_at=changed_at,
        name=lambda release: _name(page.publisher, release),
        room_name=_name(page.publisher),
    )
    response = make_response(body.translate(_NO_CHARACTERS))
    response.content_type = "application/atom+xml; charset=utf-8"
    return response


def _name(publisher: Publisher, release: Release | None = None) -> str:
    """Name something for ever, whatever version of it and at whatever address (RFC 4151)."""
    authority = publisher.from_address.rpartition("@")[2]
    room = f"tag:{authority},{publisher.created_at:%Y-%m-%d}:{publisher.slug}"
    return f"{room}/{release.reference}" if release else room


@web.get("/robots.txt")
def robots() -> Response:
    """Name the sitemap, and keep robots away from what is somebody's own (RFC 9309)."""
    doors = [f"Disallow: /{door}/" for door in token_doors()]
    lines = ["User-agent: *", *doors, "", f"Sitemap: {address('web.sitemap')}", ""]
    return _kept("\n".join(lines), "text/plain")


@web.get("/sitemap.xml")
def sitemap() -> Response:
    """List every page, or where the parts of the list are, if there are too many for one file."""
    files = -(-press_rooms.count_sitemap_entries() // ENTRIES_A_FILE)
    if files > 1:
        index = render_template("web/sitemap-index.xml", files=range(1, files + 1))
        return _kept(index, "application/xml")
    return sitemap_part(1)


@web.get("/sitemap-<int:number>.xml")
def sitemap_part(number: int) -> Response:
    """List one part of all pages, counted from 1. Raises NotFound beyond the last."""
    in_reach = 1 <= number <= ENTRIES_A_FILE
    sitemap_entries = press_rooms.sitemap_entries(number, ENTRIES_A_FILE) if in_reach else []
    if not sitemap_entries and number != 1:
        raise NotFound(f"There is no part {number}.")
    return _kept(
        render_template("web/sitemap.xml", sitemap_entries=sitemap_entries), "application/xml"
    )


def _kept(text: str, mimetype: str) -> Response:
    response = make_response(text)
    response.mimetype = mimetype
    response.headers["Cache-Control"] = _KEPT
    response.add_etag(weak=True)
    response.make_conditional(request)
    return response
