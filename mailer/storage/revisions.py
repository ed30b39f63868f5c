"""Whether this version of the service and the database fit each other.

A revision is the number of a migration. An older database lacks what this version needs. With a
newer one, a version may run that the last upgrade came from, since migrations only add.
"""

from __future__ import annotations

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

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
            if (problem := encoding_problem(session.connection())) is not None:
                return problem
            return _revision_problem(session)
    except DBAPIError as error:
        if error.connection_invalidated or not _is_about_a_table(error):
            raise
        return f"The database is not migrated. {_UPGRADE}"


def _revision_problem(session: Session) -> str | None:
    present = session.scalar(text("SELECT version_num FROM alembic_version"))
    if present is None:
        return f"The database is not migrated. {_UPGRADE}"
    if present == NEWEST:
        return None
    if not (present.isdigit() and len(present) == len(NEWEST)):
        return f"The database is of no version of this service ({present}). Is DATABASE_URL right?"
    if present < NEWEST:
        return f"The database is older than this version ({present}, not {NEWEST}). {_UPGRADE}"
    since = session.scalar(text("SELECT runs_since FROM generation"))
    if since is not None and since <= NEWEST:
        return None
    return f"The database is newer than this version ({present}, not {NEWEST}). Install that one."


def encoding_problem(connection: Connection) -> str | None:
    """Return a sentence that says why the database cannot hold every text, or None."""
    if connection.dialect.name != "postgresql":
        return None
    encoding = connection.scalar(text("SHOW server_encoding"))
    if encoding == "UTF8":
        return None
    return (
        f"The database keeps text as {encoding}, which has not every letter. Make another "
        "one with: createdb --encoding=UTF8 --template=template0 NAME"
    )


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
