"""The command line: `mailer …`, for operators and for the Procfile."""

from __future__ import annotations

import logging
import sys
from typing import NoReturn

import click
from sqlalchemy.exc import OperationalError, ProgrammingError

from mailer.cli.database import database
from mailer.cli.demo import demo
from mailer.cli.dkim import dkim
from mailer.cli.doctor import doctor
from mailer.cli.processes import sweep, worker
from mailer.cli.publishers import publisher
from mailer.cli.releases import release
from mailer.cli.subscribers import subscriber
from mailer.errors import InvalidInput, MailerError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mailer")
def commands() -> None:
    """Email subscriptions for press rooms: sign-up, fan-out, receipts that balance."""


for command in (database, publisher, subscriber, release, worker, sweep, dkim, doctor, demo):
    commands.add_command(command)


def main() -> None:
    """Run a command; what went wrong is one sentence on standard error and exit status 1."""
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
