"""The command line: `mailer …`, for operators and for the Procfile."""

from __future__ import annotations

import logging
import sys
from importlib import import_module
from typing import NoReturn

import click
from sqlalchemy.exc import OperationalError, ProgrammingError

from mailer.errors import InvalidInput, MailerError

_COMMANDS = {
    "db": "database:database",
    "publisher": "publishers:publisher",
    "subscriber": "subscribers:subscriber",
    "release": "releases:release",
    "worker": "processes:worker",
    "sweep": "processes:sweep",
    "inbound": "inbound:inbound",
    "dkim": "dkim:dkim",
    "doctor": "doctor:doctor",
    "demo": "demo:demo",
}


class _Commands(click.Group):
    """Imports a command only when it is called, so that workers load no code of the others."""

    def list_commands(self, _context: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        module, _, attribute = _COMMANDS[name].partition(":")
        command: click.Command = getattr(import_module(f"mailer.cli.{module}"), attribute)
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mailer")
def commands() -> None:
    """Email subscriptions for press rooms: sign-up, fan-out, receipts that balance."""


def main() -> None:
    """Run a command; an error is one sentence on standard error, and exit status 1."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        commands()
    except InvalidInput as error:
        _fail("\n".join(f"{field}: {it}" if field else it for field, it in error.problems.items()))
    except MailerError as error:
        _fail(str(error))
    except (ProgrammingError, OperationalError) as error:
        _fail(
            f"The database does not answer, or is not migrated ({type(error.orig).__name__}). "
            "Run: mailer doctor, and if that says so: mailer db upgrade."
        )


def _fail(sentence: str) -> NoReturn:
    click.echo(sentence, err=True)
    sys.exit(1)
