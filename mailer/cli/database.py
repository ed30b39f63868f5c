"""`mailer db`: migrates the database."""

from __future__ import annotations

import click

from mailer.config import Settings
from mailer.storage.migrations import upgrade


@click.group("db")
def database() -> None:
    """Look after the database."""


@database.command("upgrade")
def upgrade_command() -> None:
    """Bring the database to the newest migration; safe to repeat."""
    upgrade(Settings.from_environment().database_url)
    click.echo("The database is up to date.")
