"""The door of the publishing system: JSON in, JSON out, one key per press room."""

from __future__ import annotations

from flask import Blueprint

api = Blueprint("api", __name__, url_prefix="/api/v1")

from mailer.api import problems, releases  # noqa: E402, F401 - they hang their routes on `api`
