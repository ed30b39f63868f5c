"""A worker for releases that kills itself at random steps, as `mailer worker releases` otherwise.

The steps are: before and after each statement, and before each commit. `DIES_ONCE_IN` says how
many steps of a process that sends come to one death; each death adds an octet to `DEATHS`.
"""

from __future__ import annotations

import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

from mailer.cli import main

_STEPS = ("before_cursor_execute", "after_cursor_execute", "commit")
_PARENT = os.getpid()
_chance = random.SystemRandom()


def _step(*_: Any) -> None:
    if os.getpid() != _PARENT and not _chance.randrange(int(os.environ["DIES_ONCE_IN"])):
        with Path(os.environ["DEATHS"]).open("ab") as deaths:
            deaths.write(b"x")
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    for name in _STEPS:
        event.listen(Engine, name, _step)
    sys.argv = ["mailer", "worker", "releases"]
    main()
