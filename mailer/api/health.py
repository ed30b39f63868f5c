"""Health checks: whether the web process is alive, and whether it is ready."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from mailer.storage.database import is_for_reading_only, read_transaction

health = Blueprint("health", __name__)


@health.get("/healthz")
def alive() -> Response:
    """Answer 200 while the process is alive."""
    return jsonify(status="ok")


@health.get("/readyz")
def ready() -> tuple[Response, int]:
    """Answer 200 if the database answers, has its tables and can be written to, else 503."""
    try:
        with read_transaction() as session:
            session.execute(text("SELECT 1 FROM publishers LIMIT 1"))
            if is_for_reading_only(session):
                return jsonify(status="the database is read-only for now"), 503
    except SQLAlchemyError:
        return jsonify(status="the database does not answer, or is not migrated"), 503
    return jsonify(status="ok"), 200
