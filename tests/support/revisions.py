"""Databases as a version of before left them."""

from __future__ import annotations

import alembic.command
import alembic.config
from sqlalchemy import Engine

from mailer.config import MIGRATIONS

REVISIONS = sorted(path.name[:4] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))


def bring_to(engine: Engine, revision: str) -> None:
    """Make the migrations until a revision, and no later one."""
    configuration = alembic.config.Config()
    configuration.set_main_option("script_location", str(MIGRATIONS))
    configuration.set_main_option("path_separator", "os")
    with engine.connect() as connection:
        configuration.attributes["connection"] = connection
        alembic.command.upgrade(configuration, revision)
