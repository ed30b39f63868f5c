"""What the demo says: one line a step with its link, or one sentence that it failed."""

from __future__ import annotations

import io
import sys

from rich.console import Console
from rich.text import Text

_LABEL = 14


class StepFailed(Exception):
    """A step did not come out as it should; the sentence says what was seen instead."""


class Telling:
    """Speaks to whoever watches: in colour on a terminal, as plain lines elsewhere."""

    def __init__(self) -> None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            # A terminal that cannot show an å is no reason to stop.
            sys.stdout.reconfigure(errors="replace")
        self._console = Console(highlight=False, soft_wrap=True, emoji=False)
        self.steps = 0

    def chapter(self, title: str) -> None:
        """Begin a new part of the story."""
        self._console.print()
        self._console.print(Text(title, "bold"))

    def step(self, sentence: str, link: str = "") -> None:
        """Say that something was done and seen to work."""
        self.steps += 1
        self._say(("  ✓ ", "green"), sentence, link)

    def line(self, label: str, value: str = "") -> None:
        """Say something that is no step, such as where to look."""
        self._say(("  ", ""), label.ljust(_LABEL) if value else label, value)

    def failed(self, sentence: str) -> None:
        """Say what went wrong."""
        self._say(("  ✗ ", "bold red"), sentence)

    def quote(self, title: str, text: str) -> None:
        """Show the end of a log."""
        self._console.print()
        self._console.print(Text(title, "bold"))
        self._console.print(Text(text, "dim"))

    def _say(self, mark: tuple[str, str], sentence: str, link: str = "") -> None:
        said = Text.assemble(mark, sentence)
        if link:
            said.append(f" {link}", "cyan")
        self._console.print(said)
