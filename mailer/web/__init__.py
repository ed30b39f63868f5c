"""The door of visitors and recipients: plain pages that work without JavaScript.

A GET asks and changes nothing, because scanners follow links; a POST acts, and may come again.
"""

from __future__ import annotations

from flask import Blueprint

web = Blueprint("web", __name__)

from mailer.web import (  # noqa: E402, F401 - they hang their routes on `web`
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
