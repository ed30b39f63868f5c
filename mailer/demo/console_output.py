"""What the terminal shows: a line for each step with its link, or what was seen instead."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable

import click

# A sentence and what it says, which returns a link; a heading, if there is nothing to do.
Step = tuple[str, Callable[[], str] | None]


class StepFailed(Exception):
    """A step did not work; the text says what was seen instead."""


def run_steps(steps: Iterable[Step]) -> int:
    """Run and print steps, and return how many worked; raises StepFailed at the first other."""
    mistakes = (StepFailed, LookupError, OSError, TypeError, ValueError, subprocess.SubprocessError)
    done = 0
    for sentence, run in steps:
        if run is None:
            heading(sentence)
            continue
        try:
            link = run()
        except mistakes as error:
            seen = str(error) if isinstance(error, StepFailed) else repr(error)
            raise StepFailed(f"{sentence}\n    {seen}") from error
        line(sentence, link, click.style("  ✓ ", "green"))
        done += 1
    return done


def heading(text: str) -> None:
    """Print a heading."""
    click.secho(f"\n{text}", bold=True)


def line(text: str, link: str = "", mark: str = "  ") -> None:
    """Print a line, with a link after it."""
    click.echo(f"{mark}{text} {click.style(link, 'cyan')}" if link else f"{mark}{text}")
