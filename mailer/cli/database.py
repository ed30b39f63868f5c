"""`mailer db`: migrates the database, backs it up, and says that a backup was put back."""

from __future__ import annotations

from pathlib import Path

import click

from mailer.app import with_settings
from mailer.config import Settings
from mailer.domain import restores
from mailer.storage.backup import back_up
from mailer.storage.database import db
from mailer.storage.migrations import upgrade


@click.group("db")
def database() -> None:
    """Look after the database."""


@database.command("upgrade")
def upgrade_command() -> None:
    """Bring the database to the newest migration; safe to repeat."""
    upgrade(Settings.from_environment().database_url)
    click.echo("The database is up to date.")


@database.command("backup")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@with_settings
def backup_command(_settings: Settings, file: Path) -> None:
    """Write the database to a new file, as it is now, also while a release goes out."""
    back_up(db.engine, file)
    click.echo(f"The database is in {file}. Keep it where the database cannot take it along.")


@database.command("restored")
@with_settings
def restored_command(settings: Settings) -> None:
    """Say that an older copy was put back: pause every release, and repeat who has left since."""
    changed = restores.accept_present(settings)
    click.echo(
        "Every release that was not finished is paused. "
        f"Ways out, returns and erasures since the copy was made, repeated now: {changed}."
    )
