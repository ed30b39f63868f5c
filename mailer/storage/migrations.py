"""Migrations: bring a database to the schema that this code needs.

No long-running process imports this: Alembic takes a tenth of a worker's memory.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import alembic.command
import alembic.config
from alembic.migration import MigrationContext
from alembic.util import CommandError
from sqlalchemy import Engine, create_engine, text

from mailer.config import MIGRATIONS
from mailer.errors import Misconfigured
from mailer.storage.revisions import NEWEST, encoding_problem


def upgrade(url: str) -> None:
    """Bring the database at `url` to the newest migration; does nothing if it is there already.

    It remembers the migration before, whose version may go on beside this one. Raises Misconfigured
    if it has a newer one, or another encoding than UTF-8.
    """
    engine = create_engine(url)
    if (file := sqlite_file(engine)) is not None:
        # Its journal gets the same rights: addresses are no business of other accounts.
        with suppress(OSError):
            file.touch(mode=0o600)
    try:
        with engine.connect() as connection:
            if (problem := encoding_problem(connection)) is not None:
                raise Misconfigured(problem)
            before = MigrationContext.configure(connection).get_current_revision()
            connection.rollback()
            configuration = _migrations()
            configuration.attributes["connection"] = connection
            alembic.command.upgrade(configuration, "head")
        if before not in (None, NEWEST):
            with engine.begin() as connection:
                since = text("UPDATE generation SET runs_since = :before")
                connection.execute(since, {"before": before})
    except CommandError:
        raise Misconfigured("The database is newer than this version, or not ours.") from None
    finally:
        engine.dispose()


def sqlite_file(engine: Engine) -> Path | None:
    """Return the file of a SQLite database; None for one on a server."""
    path = engine.url.database
    return Path(path) if engine.dialect.name == "sqlite" and path else None


def _migrations() -> alembic.config.Config:
    configuration = alembic.config.Config()
    configuration.set_main_option("script_location", str(MIGRATIONS))
    configuration.set_main_option("path_separator", "os")
    return configuration
