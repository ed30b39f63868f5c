"""The pages for visitors and subscribers: plain HTML that works without JavaScript.

A GET changes nothing, because link scanners follow links; a POST acts, and may be repeated.
"""

from __future__ import annotations

from flask import Blueprint

web = Blueprint("web", __name__)

from mailer.web import (  # noqa: E402, F401 - they add their routes to `web`
    errors,
    feeds,
    follow,
    headers,
    http_cache,
    languages,
    preferences,
    press_room,
    request_checks,
    subscription,
    your_data,
)
