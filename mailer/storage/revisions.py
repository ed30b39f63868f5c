"""Revisions: whether this version of the service and the database fit each other.

A revision is the number of a migration. An older database lacks what this version needs. With a
newer one, a version may run that the last upgrade came from, since migrations only add.
"""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from mailer.config import MIGRATIONS
from mailer.errors import Misconfigured
from mailer.storage.database import read_transaction

NEWEST = max(path.name[:4] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))
"""The revision that this version needs."""

_UPGRADE = "Run: mailer db upgrade"


def misfit() -> str | None:
    """Return a sentence that says why this version may not run with the database, or None.

    Raises SQLAlchemyError if the database does not answer.
    """
    try:
        with read_transaction() as session:
            present = session.scalar(text("SELECT version_num FROM alembic_version"))
    except DBAPIError as error:
        if error.connection_invalidated or not _is_about_a_table(error):
            raise
        present = None
    if present is None:
        return f"The database is not migrated. {_UPGRADE}"
    if present == NEWEST:
        return None
    if not (present.isdigit() and len(present) == len(NEWEST)):
        return f"The database is of no version of this service ({present}). Is DATABASE_URL right?"
    if present < NEWEST:
        return f"The database is older than this version ({present}, not {NEWEST}). {_UPGRADE}"
    with read_transaction() as session:
        since = session.scalar(text("SELECT runs_since FROM generation"))
    if since is not None and since <= NEWEST:
        return None
    return f"The database is newer than this version ({present}, not {NEWEST}). Install that one."


def require_fitting() -> None:
    """Raise Misconfigured if this version may not run with the database, which may be away."""
    try:
        problem = misfit()
    except DBAPIError:
        return
    if problem is not None:
        raise Misconfigured(problem)


def _is_about_a_table(error: DBAPIError) -> bool:
    undefined_table = "42P01"
    return getattr(error.orig, "sqlstate", None) == undefined_table or (
        "no such table" in str(error.orig)
    )
