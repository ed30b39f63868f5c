"""`mailer demo`: everything on this machine, with nothing to install."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from mailer.demo import run


@click.command("demo")
@click.option("--once", is_flag=True, help="Run the story, then end: 0 if every step worked.")
@click.option(
    "--release",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Publish another release; its date is set to now.",
)
def demo(*, once: bool, release: Path | None) -> None:
    """Run the whole story on this machine, then stay up."""
    sys.exit(run(once=once, release=release))
