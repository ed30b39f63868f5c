"""The press room's page: who they are, what is new, and the follow box."""

from __future__ import annotations

import re

from flask import Response, redirect, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from mailer.domain import archive
from mailer.errors import NotFound
from mailer.web import web
from mailer.web.freshness import fresh
from mailer.web.pages import publisher_at, show, speak, wished

_RELEASES_A_PAGE = 10


@web.get("/<slug>/")
def press_room(slug: str) -> Response:
    """Show the press room, with a page of its releases and the follow box."""
    page = archive.page(slug, _RELEASES_A_PAGE, _number())
    speak(wished(page.publisher.locale))
    return fresh(
        lambda: show("press-room.html", publisher=page.publisher, page=page),
        page.changed_at,
        page.publisher,
        page.releases,
        page.number,
        page.more,
    )


@web.get("/<slug>")
def nearly(slug: str) -> AnyResponse:
    """Lead whoever forgot the slash to the press room, within this host."""
    return redirect(url_for("web.press_room", slug=publisher_at(slug).slug), 308)


def _number() -> int:
    """Return which page is asked for; what is no number of a page leads nowhere."""
    number = request.args.get("page", "1")
    if not re.fullmatch(r"[1-9][0-9]{0,5}", number):
        raise NotFound("There is no such page.")
    return int(number)
