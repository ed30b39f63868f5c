"""The follow box on other people's pages, in a frame or as a plain form."""

from __future__ import annotations

from flask import Response

from mailer.web import web
from mailer.web.follow import follow
from mailer.web.pages import publisher_at, show


@web.get("/<slug>/embed")
def embed(slug: str) -> Response:
    """Show the follow box alone, to be framed by any page."""
    return show("embed.html", publisher=publisher_at(slug))


@web.post("/<slug>/embed")
def follow_embedded(slug: str) -> Response:
    """Sign an address up as the press room's page does, and answer within the frame."""
    return follow(slug)


@web.get("/<slug>/embed/code")
def embed_code(slug: str) -> Response:
    """Show what to copy into another page."""
    return show("embed-code.html", publisher=publisher_at(slug))
