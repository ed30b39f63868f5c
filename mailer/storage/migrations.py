"""The migrations: how a database is brought to what this code wants.

Nothing that runs for long imports this: the library is a tenth of a worker's memory.
"""

from __future__ import annotations

import alembic.command
import alembic.config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from mailer.config import MIGRATIONS
from mailer.storage.database import db


def upgrade(url: str) -> None:
    """Bring the database at `url` to the newest migration; again is fine."""
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            configuration = _migrations()
            configuration.attributes["connection"] = connection
            alembic.command.upgrade(configuration, "head")
    finally:
        engine.dispose()


def newest_migration() -> str | None:
    """Return the revision that this code wants the database to be at."""
    return ScriptDirectory.from_config(_migrations()).get_current_head()


def present_migration() -> str | None:
    """Return the revision that the database is at; raises SQLAlchemyError if it is away."""
    with db.engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def _migrations() -> alembic.config.Config:
    configuration = alembic.config.Config()
    configuration.set_main_option("script_location", str(MIGRATIONS))
    configuration.set_main_option("path_separator", "os")
    return configuration
