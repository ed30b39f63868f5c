"""Migrations: bring a database to the schema that this code needs.

No long-running process imports this: Alembic takes a tenth of a worker's memory.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import alembic.command
import alembic.config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine

from mailer.config import MIGRATIONS
from mailer.storage.database import db


def upgrade(url: str) -> None:
    """Bring the database at `url` to the newest migration; does nothing if it is there already."""
    engine = create_engine(url)
    if (file := sqlite_file(engine)) is not None:
        # Its journal gets the same rights: addresses are no business of other accounts.
        with suppress(OSError):
            file.touch(mode=0o600)
    try:
        with engine.connect() as connection:
            configuration = _migrations()
            configuration.attributes["connection"] = connection
            alembic.command.upgrade(configuration, "head")
    finally:
        engine.dispose()


def sqlite_file(engine: Engine) -> Path | None:
    """Return the file of a SQLite database; None for one on a server."""
    path = engine.url.database
    return Path(path) if engine.dialect.name == "sqlite" and path else None


def newest_migration() -> str | None:
    """Return the newest revision, which this code needs the database to have."""
    return ScriptDirectory.from_config(_migrations()).get_current_head()


def present_migration() -> str | None:
    """Return the database's revision; raises SQLAlchemyError if the database does not answer."""
    with db.engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def _migrations() -> alembic.config.Config:
    configuration = alembic.config.Config()
    configuration.set_main_option("script_location", str(MIGRATIONS))
    configuration.set_main_option("path_separator", "os")
    return configuration
