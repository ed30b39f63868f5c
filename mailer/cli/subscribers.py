"""`mailer subscriber`: the people who follow."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from mailer.cli.context import with_settings
from mailer.config import Settings
from mailer.domain.followers import import_followers
from mailer.mail.locales import available

_SHOWN = 20


@click.group("subscriber")
def subscriber() -> None:
    """Bring followers along."""


@subscriber.command("import")
@click.argument("slug")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@with_settings
def import_command(settings: Settings, slug: str, file: Path) -> None:
    """Take over confirmed followers from a CSV file: address, confirmed_at, locale.

    Ends with 0 even if lines were refused, since the others are in; the report names them.
    """
    with file.open("rb") as lines:
        total = max(0, sum(1 for _ in lines) - 1)
    console = Console(stderr=True)
    bar = Progress(BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console)
    with file.open(encoding="utf-8-sig", errors="replace", newline="") as lines, bar:
        task = bar.add_task("", total=total)
        report = import_followers(
            slug,
            lines,
            locales=available(),
            smtputf8=settings.smtputf8,
            progress=lambda done: bar.advance(task, done),
        )
    click.echo(
        f"{report.added} added, {report.already} already followed, {len(report.refused)} refused."
    )
    for line, sentence in list(report.refused.items())[:_SHOWN]:
        click.echo(f"  line {line}: {sentence}", file=sys.stderr)
    if len(report.refused) > _SHOWN:
        click.echo(f"  … and {len(report.refused) - _SHOWN} more.", file=sys.stderr)
