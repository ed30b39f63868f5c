"""Runs `mailer …` as a process of its own that does not import everything anew.

Each command is forked from a process in which the package has been imported and nothing else has
happened; it has the environment, folder, input and output of a program.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from multiprocessing import get_context
from pathlib import Path
from pkgutil import walk_packages
from tempfile import TemporaryDirectory

import mailer
from tests.processes import PATIENCE_SECONDS

_forks = get_context("forkserver")
_forks.set_forkserver_preload(
    [
        *(
            one.name
            for one in walk_packages(mailer.__path__, "mailer.")
            if not one.name.endswith("__main__")
        ),
        *("alembic.command", "psycopg", "sqlalchemy.dialects.sqlite", __name__),
    ]
)


def run(
    arguments: Sequence[str], environment: Mapping[str, str], folder: Path, given: bytes
) -> tuple[int, str, str]:
    """Run a command to its end; returns its exit status, standard output and standard error."""
    with TemporaryDirectory() as name:
        files = [Path(name, one) for one in ("in", "out", "err")]
        files[0].write_bytes(given)
        process = _forks.Process(
            target=_be_program, args=(list(arguments), dict(environment), folder, files)
        )
        process.start()
        process.join(PATIENCE_SECONDS)
        if process.exitcode is None:
            process.kill()
            process.join()
        assert process.exitcode is not None
        return process.exitcode, files[1].read_text(), files[2].read_text()


def _be_program(
    arguments: list[str], environment: dict[str, str], folder: Path, files: list[Path]
) -> None:
    """Become what `python -m mailer` is, and run the command."""
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    os.chdir(folder)
    for number, file in enumerate(files):
        opened = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        os.dup2(opened, number)
        os.close(opened)
    # Open until the process ends, as those of any program.
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "a"), open(2, "a")  # noqa: SIM115
    sys.argv = ["mailer", *arguments]

    from mailer.cli import main  # noqa: PLC0415 - imported by the process that forks

    main()
