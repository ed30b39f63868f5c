"""The press room's releases as a feed (Atom, RFC 4287)."""

from __future__ import annotations

from flask import Response, make_response, render_template, request

from mailer.domain import archive
from mailer.domain.archive import Page
from mailer.domain.reading import changed_at
from mailer.mail.locales import best
from mailer.storage.models import Publisher, Release
from mailer.web import web
from mailer.web.freshness import fresh
from mailer.web.pages import speak, spoken

_ENTRIES = 20
# What XML may not hold although it is no control character.
_NO_CHARACTERS = dict.fromkeys((0xFFFE, 0xFFFF))


@web.get("/<slug>/feed.atom")
def feed(slug: str) -> Response:
    """Answer with the latest releases, in the language of the press room or the one asked for."""
    page = archive.page(slug, _ENTRIES)
    # A feed reader asks for many people, so what it would like to read says nothing.
    speak(best(request.args.get("locale"), page.publisher.locale))
    return fresh(lambda: _atom(page), page.changed_at, page.publisher, page.releases)


def _atom(page: Page) -> Response:
    body = render_template(
        "web/feed.atom",
        locale=spoken(),
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
