"""One process of the demo: started on a leash, watched, and ended politely or not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path

from mailer.demo.telling import StepFailed

_LEASH = Path(__file__).with_name("leash.py")
_UP_WITHIN_SECONDS = 60
_ASKED_EVERY_SECONDS = 0.05
_LOG_LINES = 20


class Child:
    """A program with a name, whose output goes to a file, and which may inherit open files."""

    def __init__(
        self,
        name: str,
        command: list[str],
        log: Path,
        environment: Mapping[str, str],
        inherited: Collection[int] = (),
    ) -> None:
        self.name = name
        self._command = command
        self._log = log
        self._environment = environment
        self._inherited = inherited
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the program, in a session of its own: Ctrl-C is ours to pass on."""
        leash = [sys.executable, "-I", "-S", str(_LEASH), str(os.getpid())]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own commands
                [*leash, *self._command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
                pass_fds=self._inherited,
            )

    def await_up(self, answers: Callable[[], bool]) -> None:
        """Wait until it answers; raises StepFailed if it ends first, or takes too long."""
        deadline = time.monotonic() + _UP_WITHIN_SECONDS
        while not answers():
            if self.down:
                raise StepFailed(f"The part “{self.name}” ended before it was up.")
            if time.monotonic() > deadline:
                raise StepFailed(
                    f"The part “{self.name}” did not come up within {_UP_WITHIN_SECONDS} s."
                )
            # A program does not say that it is up; it begins to answer.
            time.sleep(_ASKED_EVERY_SECONDS)

    @property
    def down(self) -> bool:
        """Whether it was started and has ended."""
        return self._process is not None and self._process.poll() is not None

    @property
    def last_lines(self) -> str:
        """The end of what it said."""
        if not self._log.exists():
            return ""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-_LOG_LINES:])

    def ask_to_end(self) -> None:
        """Send SIGTERM."""
        if self._process is not None and not self.down:
            self._process.terminate()

    def end(self, deadline: float) -> None:
        """Wait for its end until a moment of the monotonic clock, then leave nothing of it."""
        if self._process is None:
            return
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(max(0.0, deadline - time.monotonic()))
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
