"""A composer without a process of its own, for tests that start none."""

from __future__ import annotations

import os
import subprocess

from mailer.config import TEMPLATES
from mailer.errors import NotComposed
from mailer.mail import composer
from mailer.mail.compose import Made, Work, make
from mailer.mail.composer import Composer
from tests.support.poisoned_compose import SLEEPING


class ComposerHere(Composer):
    """Does each work in this process."""

    def _make(self, work: Work) -> Made:
        made = make(work, TEMPLATES)
        if made.refused is not None:
            raise NotComposed(made.refused)
        return made


def compose_here() -> None:
    """Compose in this process from now on."""
    composer.shared = ComposerHere(TEMPLATES)


def poisoned() -> Composer:
    """Return a composer whose program some words harm, as `tests.support.poisoned_compose` says."""
    return Composer(TEMPLATES, "tests.support.poisoned_compose")


class NoComposer(Composer):
    """Composes nothing, for what has to be sent as it is kept."""

    def _make(self, work: Work) -> Made:
        raise AssertionError("this was composed already")


def sleeping() -> list[int]:
    """Return the processes of poisoned programs that sleep over what they were given."""
    programs = _children(os.getpid(), "-f", "poisoned_compose")
    return [child for program in programs for child in _children(program, "-x", SLEEPING)]


def _children(pid: int, how: str, word: str) -> list[int]:
    found = subprocess.run(
        ["pgrep", "-P", str(pid), how, word], capture_output=True, text=True, check=False
    )
    return [int(line) for line in found.stdout.split()]
