"""The press room's page."""

from __future__ import annotations

from flask import Response, redirect, url_for
from werkzeug.wrappers import Response as AnyResponse

from mailer.web import web
from mailer.web.pages import publisher_at, show


@web.get("/<slug>/")
def press_room(slug: str) -> Response:
    """Show the press room, with the follow box."""
    return show("press-room.html", publisher=publisher_at(slug), typed="", problem=None)


@web.get("/<slug>")
def nearly(slug: str) -> AnyResponse:
    """Lead whoever forgot the slash to the press room, within this host."""
    return redirect(url_for("web.press_room", slug=publisher_at(slug).slug), 308)
