"""What a press room keeps of those who follow it, told in a page."""

from __future__ import annotations

from flask import Response

from mailer.web import web
from mailer.web.pages import publisher_at, show


@web.get("/<slug>/privacy")
def privacy(slug: str) -> Response:
    """Show the standing text, and what the press room adds to it."""
    return show("privacy.html", publisher=publisher_at(slug))
