"""What programs read of a press room: a feed (Atom, RFC 4287), the sitemap and robots.txt."""

from __future__ import annotations

from flask import Response, make_response, render_template, request

from mailer.domain.releases import press_rooms
from mailer.domain.releases.press_rooms import Page, changed_at
from mailer.errors import NotFound
from mailer.mail.locales import best
from mailer.storage.models import Publisher, Release
from mailer.web import web
from mailer.web.headers import token_paths
from mailer.web.http_cache import conditional_response
from mailer.web.languages import address
from mailer.web.pages import get_locale, set_locale

ENTRIES_A_FILE = 50_000
"""The most entries that sitemaps.org allows in one file."""

_CACHE_CONTROL = "public, max-age=3600"
_ENTRIES = 20
# XML does not allow these two, although they are not control characters.
_NO_CHARACTERS = dict.fromkeys((0xFFFE, 0xFFFF))


@web.get("/<slug>/feed.atom")
def feed(slug: str) -> Response:
    """Answer with the latest releases, in the language that `locale` names or the press room's."""
    page = press_rooms.page(slug, _ENTRIES)
    # Accept-Language is ignored: one feed reader fetches for many people.
    set_locale(best(request.args.get("locale"), page.publisher.locale))
    return conditional_response(lambda: _atom(page), page.changed_at, page.publisher, page.releases)


def _atom(page: Page) -> Response:
    body = render_template(
        "web/feed.atom",
        locale=get_locale(),
        publisher=page.publisher,
        page=page,
        stories=press_rooms.stories(page.releases),
        changed_at=changed_at,
        name=lambda release: _name(page.publisher, release),
        room_name=_name(page.publisher),
    )
    response = make_response(body.translate(_NO_CHARACTERS))
    response.content_type = "application/atom+xml; charset=utf-8"
    return response


def _name(publisher: Publisher, release: Release | None = None) -> str:
    """Return the permanent tag URI (RFC 4151) of a press room, or of all versions of a release."""
    authority = publisher.from_address.rpartition("@")[2]
    room = f"tag:{authority},{publisher.created_at:%Y-%m-%d}:{publisher.slug}"
    return f"{room}/{release.reference}" if release else room


@web.get("/robots.txt")
def robots() -> Response:
    """Name the sitemap, and disallow the paths that contain a subscriber's token (RFC 9309)."""
    disallowed = [f"Disallow: /{path}/" for path in token_paths()]
    lines = ["User-agent: *", *disallowed, "", f"Sitemap: {address('web.sitemap')}", ""]
    return _cacheable("\n".join(lines), "text/plain")


@web.get("/sitemap.xml")
def sitemap() -> Response:
    """List every public page, or the parts of that list if one file cannot hold it."""
    files = -(-press_rooms.count_sitemap_entries() // ENTRIES_A_FILE)
    if files > 1:
        index = render_template("web/sitemap-index.xml", files=range(1, files + 1))
        return _cacheable(index, "application/xml")
    return sitemap_part(1)


@web.get("/sitemap-<int:number>.xml")
def sitemap_part(number: int) -> Response:
    """List one part of all public pages, counted from 1. Raises NotFound beyond the last part."""
    in_reach = 1 <= number <= ENTRIES_A_FILE
    sitemap_entries = press_rooms.sitemap_entries(number, ENTRIES_A_FILE) if in_reach else []
    if not sitemap_entries and number != 1:
        raise NotFound(f"There is no part {number}.")
    return _cacheable(
        render_template("web/sitemap.xml", sitemap_entries=sitemap_entries), "application/xml"
    )


def _cacheable(text: str, mimetype: str) -> Response:
    response = make_response(text)
    response.mimetype = mimetype
    response.headers["Cache-Control"] = _CACHE_CONTROL
    response.add_etag(weak=True)
    response.make_conditional(request)
    return response
