"""The command line: `mailer …`, for operators and for the Procfile."""

from __future__ import annotations

import logging
import sys

import click

from mailer.cli.database import database
from mailer.cli.demo import demo
from mailer.cli.doctor import doctor
from mailer.cli.processes import sweep, worker
from mailer.cli.publishers import publisher
from mailer.cli.releases import release
from mailer.cli.subscribers import subscriber
from mailer.errors import MailerError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mailer")
def commands() -> None:
    """Email subscriptions for press rooms: sign-up, fan-out, receipts that balance."""


for command in (database, publisher, subscriber, release, worker, sweep, doctor, demo):
    commands.add_command(command)


def main() -> None:
    """Run a command; what went wrong is one sentence on standard error and exit status 1."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        commands()
    except MailerError as error:
        click.echo(str(error), err=True)
        sys.exit(1)
