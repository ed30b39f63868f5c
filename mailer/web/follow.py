"""The follow box: what becomes of what is typed there."""

from __future__ import annotations

from flask import Response, redirect, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from mailer.domain import subscriptions
from mailer.errors import InvalidAddress
from mailer.mail.locales import best
from mailer.web import web
from mailer.web.guards import evidence, form
from mailer.web.pages import publisher_at, settings, show, speak

TRAP = "message"
"""A field that people do not see; who fills it in is no person."""


@web.get("/<slug>/follow")
def back(slug: str) -> AnyResponse:
    """Lead whoever reloads the answer to the form back to the press room."""
    return redirect(url_for("web.press_room", slug=publisher_at(slug).slug), 303)


@web.post("/<slug>/follow")
def follow(slug: str) -> Response:
    """Sign an address up; the answer never tells whether it was known."""
    publisher = publisher_at(slug)
    fields = form()
    speak(best(fields.get("locale"), publisher.locale))
    # Two fields are two addresses, and refused as such.
    typed = ", ".join(fields.getlist("address"))
    try:
        if not fields.get(TRAP):
            subscriptions.sign_up(
                settings(), slug, typed, evidence(request.path.removesuffix("follow"))
            )
    except InvalidAddress as mistake:
        return show(
            "follow.html",
            422,
            publisher=publisher,
            typed="".join(filter(str.isprintable, typed)),
            problem=str(mistake),
        )
    return show("asked.html", 202, publisher=publisher)
