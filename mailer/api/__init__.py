"""The API for publishing systems: JSON in, JSON out; each API key is for one press room."""

from __future__ import annotations

from flask import Blueprint

api = Blueprint("api", __name__, url_prefix="/api/v1")

from mailer.api import problems, releases  # noqa: E402, F401 - they add their routes to `api`
