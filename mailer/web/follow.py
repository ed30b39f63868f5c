"""The press room's page, and the follow box on it."""

from __future__ import annotations

from flask import Response, redirect, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from mailer.domain import publishers, subscriptions
from mailer.errors import InvalidAddress
from mailer.mail.locales import best
from mailer.storage.models import Publisher
from mailer.web import web
from mailer.web.guards import evidence, form
from mailer.web.pages import settings, show, speak

TRAP = "message"
"""A field that people do not see; who fills it in is no person."""


@web.get("/<slug>/")
def press_room(slug: str) -> Response:
    """Show the press room, with the follow box."""
    return show("press-room.html", publisher=_publisher(slug), typed="", problem=None)


@web.get("/<slug>")
def nearly(slug: str) -> AnyResponse:
    """Lead whoever forgot the slash to the press room, within this host."""
    return redirect(url_for("web.press_room", slug=_publisher(slug).slug), 308)


@web.get("/<slug>/follow")
def back(slug: str) -> AnyResponse:
    """Lead whoever reloads the answer to the form back to the press room."""
    return redirect(url_for("web.press_room", slug=_publisher(slug).slug), 303)


@web.post("/<slug>/follow")
def follow(slug: str) -> Response:
    """Sign an address up; the answer never tells whether it was known."""
    publisher = _publisher(slug)
    fields = form()
    speak(best(fields.get("locale"), publisher.locale))
    # Two fields are two addresses, and refused as such.
    typed = ", ".join(fields.getlist("address"))
    try:
        if not fields.get(TRAP):
            subscriptions.sign_up(settings(), slug, typed, evidence(f"/{slug}/"))
    except InvalidAddress as mistake:
        return show(
            "press-room.html",
            422,
            publisher=publisher,
            typed="".join(filter(str.isprintable, typed)),
            problem=str(mistake),
        )
    return show("asked.html", 202, publisher=publisher)


def _publisher(slug: str) -> Publisher:
    """Find the press room, and speak its language; raises NotFound."""
    publisher = publishers.find(slug)
    speak(best(request.args.get("locale"), publisher.locale))
    return publisher
