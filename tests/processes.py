"""Real programs as test parts: each dies with the test run, and can be killed or frozen on the way.

`setpriv` (util-linux, on every Debian) gives a program its user and its death signal; doing the
same in a forked Python would run code between fork and exec, which threads make unsafe.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from pwd import getpwnam
from typing import TypeVar

PATIENCE_SECONDS = 60.0
_POLL_SECONDS = 0.02

T = TypeVar("T")


def eventually(condition: Callable[[], T], message: str = "", patience: float | None = None) -> T:
    """Ask until the answer is true, and give it; AssertionError when patience runs out.

    The message says what was waited for. Exceptions from the condition are not swallowed.
    """
    deadline = time.monotonic() + (PATIENCE_SECONDS if patience is None else patience)
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"waited in vain: {message or condition}"
        time.sleep(_POLL_SECONDS)
    return answer


def free_port() -> int:
    """Find a TCP port on 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listens(port: int) -> bool:
    """Tell whether something accepts connections on that port of 127.0.0.1."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
        return True
    return False


def alive(pid: int) -> bool:
    """Tell whether a process exists and is more than a zombie nobody has buried yet."""
    return state(pid) not in "ZX"


def state(pid: int) -> str:
    """Return the letter of a process's state as proc(5) has it, X for one that is not there."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return "X"
    return status.rpartition(")")[2].split()[0]


def as_user(name: str | None) -> list[str]:
    """Give the options by which setpriv turns root into somebody else; none stays who we are."""
    if name is None:
        return []
    return ["--reuid", name, "--regid", str(getpwnam(name).pw_gid), "--init-groups"]


class Process:
    """One program, started and restarted with the same command, its output in one log file."""

    def __init__(
        self,
        command: list[str],
        log: Path,
        *,
        environment: Mapping[str, str] | None = None,
        user: str | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
        death_signal: signal.Signals = signal.SIGKILL,
    ) -> None:
        death = ["--pdeathsig", death_signal.name.removeprefix("SIG")]
        self._command = ["setpriv", *death, *as_user(user), "--", *command]
        self._log = log
        self._environment = environment
        self._stop_signal = stop_signal
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The id of the running program (which leads its own process group)."""
        assert self._popen is not None, "it was never started"
        return self._popen.pid

    @property
    def exit_code(self) -> int | None:
        """What it ended with; None while it runs, -9 after a SIGKILL."""
        return None if self._popen is None else self._popen.poll()

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._popen is not None and self._popen.poll() is None

    @property
    def children(self) -> list[int]:
        """The ids of the processes it has started itself."""
        try:
            children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
            return [int(pid) for pid in children.split()]
        except FileNotFoundError:
            return []

    def catches(self, number: signal.Signals) -> bool:
        """Whether the program has come as far as handling that signal."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text()
        except FileNotFoundError:
            return False
        caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
        return bool(int(caught.split()[1], 16) >> (number - 1) & 1)

    @property
    def log(self) -> str:
        """Everything it has said so far, over all its starts."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def launch(self) -> None:
        """Start the program, unless it runs; whoever calls waits until it is ready."""
        if self.running:
            return
        self._clear()
        with self._log.open("ab") as log:
            self._popen = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
            )

    def ready(self, condition: Callable[[], object]) -> None:
        """Wait until the condition holds; fail at once, with the log, if the program ends first."""
        eventually(
            lambda: self.exit_code is not None or condition(), f"{self._command}\n{self.log}"
        )
        assert self.running, f"{self._command} ended with {self.exit_code}:\n{self.log}"

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the program alone, not to its children."""
        os.kill(self.pid, number)

    def freeze(self) -> None:
        """Stop it in its tracks, with its connections open (SIGSTOP)."""
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on after a freeze (SIGCONT)."""
        if self.running:
            self.signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill the program alone with SIGKILL, and wait until it is gone."""
        if self.running:
            self.signal(signal.SIGKILL)
            self.wait()

    def stop(self) -> int:
        """End it politely, clear away what is left of its process group, and give its exit code."""
        if self._popen is None:
            return 0
        self.thaw()
        if self.running:
            self.signal(self._stop_signal)
        try:
            return self.wait()
        finally:
            self._clear()

    def wait(self) -> int:
        """Wait until it has ended, and give its exit code."""
        assert self._popen is not None, "it was never started"
        return self._popen.wait(PATIENCE_SECONDS)

    def _clear(self) -> None:
        """Kill what a killed program left in its process group, as a supervisor would."""
        if self._popen is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
