"""`mailer subscriber`: imports and exports followers, shows and erases a subscriber's data."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from mailer.app import with_settings
from mailer.config import Settings
from mailer.domain.followers import erasure, personal_data
from mailer.domain.followers.follower_csv import COLUMNS, followers_of, import_followers
from mailer.mail.locales import available

_SHOWN = 20


@click.group("subscriber")
def subscriber() -> None:
    """Import, export, look up and erase followers."""


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
            erasure_key=settings.erasure_key,
            progress=lambda done: bar.advance(task, done),
        )
    click.echo(
        f"{report.added} added, {report.already} already followed, {len(report.refused)} refused."
    )
    for line, sentence in list(report.refused.items())[:_SHOWN]:
        click.echo(f"  line {line}: {sentence}", file=sys.stderr)
    if len(report.refused) > _SHOWN:
        click.echo(f"  … and {len(report.refused) - _SHOWN} more.", file=sys.stderr)


@subscriber.command("export")
@click.argument("slug")
@with_settings
def export_command(_settings: Settings, /, slug: str) -> None:
    """Write the followers of a press room to standard output, as `import` reads them."""
    rows = followers_of(slug)
    first = next(rows, None)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(COLUMNS)
    if first is not None:
        writer.writerow(first)
        writer.writerows(rows)


@subscriber.command("show")
@click.argument("address")
@click.option("--json", "as_json", is_flag=True, help="Answer as JSON.")
@with_settings
def show_command(_settings: Settings, /, address: str, *, as_json: bool) -> None:
    """Show everything that is known about an address."""
    known = personal_data.for_address(address)
    lines = [json.dumps(known, ensure_ascii=False, indent=2)] if as_json else _readable(known)
    click.echo("\n".join(lines))


@subscriber.command("erase")
@click.argument("address")
@with_settings
def erase_command(settings: Settings, address: str) -> None:
    """Forget an address: only its owner may bring it back. This cannot be undone."""
    erasure.erase(settings, address)
    click.echo("Forgotten. What is being sent at this moment may still arrive.")


def _readable(known: dict[str, Any], margin: str = "") -> Iterator[str]:
    """Yield the data of a subscriber line by line, the items of lists indented."""
    for name, value in known.items():
        if isinstance(value, list):
            for number, one in enumerate(value, 1):
                yield f"{margin}{name} {number}"
                yield from _readable(one, margin + "    ")
        elif value is not None:
            yield f"{margin}{name}: {value}"
