"""Health checks: whether the web process is alive, and whether it is ready."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify
from sqlalchemy.exc import SQLAlchemyError

from mailer.storage.database import is_for_reading_only, read_transaction
from mailer.storage.revisions import misfit

health = Blueprint("health", __name__)


@health.get("/healthz")
def alive() -> Response:
    """Answer 200 while the process is alive."""
    return jsonify(status="ok")


@health.get("/readyz")
def ready() -> tuple[Response, int]:
    """Answer 200 if the database answers, fits this version and can be written to, else 503."""
    try:
        with read_transaction() as session:
            if is_for_reading_only(session):
                return jsonify(status="the database is read-only for now"), 503
        problem = misfit()
    except SQLAlchemyError:
        return jsonify(status="the database does not answer"), 503
    return jsonify(status=problem or "ok"), 503 if problem else 200
