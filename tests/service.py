"""The whole service as in production: the processes of the Procfile, each a real program."""

from __future__ import annotations

import os
import secrets
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self
from urllib.parse import urlsplit

from flask import Flask

from mailer.app import create_app
from mailer.config import Settings
from mailer.storage.database import db
from tests.canary import addresses
from tests.processes import Process, free_port

ROOT = Path(__file__).parent.parent
NAMES = ("web", "letters", "releases", "sweep")
_STATE = TemporaryDirectory(prefix="mailer-state-")
"""One folder for all deployments of this process: each database has files by its own name."""


def contract(*, database_url: str, redis_url: str, smtp_url: str) -> dict[str, str]:
    """Give the environment of one deployment: fresh keys, and a free port on loopback."""
    return {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "SMTP_URL": smtp_url,
        "BASE_URL": f"http://127.0.0.1:{free_port()}",
        "SECRET_KEYS": ",".join(secrets.token_hex(32) for _ in range(2)),
        "MAILER_FOLLOWS_A_MINUTE": "100000",
        "MAILER_ERASURE_KEY": secrets.token_hex(32),
        "MAILER_FOLLOWS_A_MINUTE_IN_ALL": "100000",
        "MAILER_STATE_DIR": _STATE.name,
    }


def complete(environment: Mapping[str, str]) -> dict[str, str]:
    """Add what every program needs; no setting of whoever runs the tests gets in."""
    path = f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}"
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ}
    return {**kept, "PATH": path, "PYTHONUNBUFFERED": "1", **environment}


@contextmanager
def application(environment: Mapping[str, str]) -> Iterator[Flask]:
    """Build the application in this process, in its context, and close its connections after."""
    app = create_app(Settings.from_environment(environment))
    with app.app_context():
        try:
            yield app
        finally:
            db.engine.dispose()


class Service:
    """Runs processes of the Procfile in the contract's environment."""

    def __init__(self, environment: Mapping[str, str], folder: Path) -> None:
        self.environment = dict(environment)
        self.url = self.environment["BASE_URL"]
        port = str(urlsplit(self.url).port)
        everything = complete({**self.environment, "BIND": "127.0.0.1", "PORT": port})
        self.processes = {
            name: Process(
                ["sh", "-c", f"exec {command}"], folder / f"{name}.log", environment=everything
            )
            for name, command in procfile().items()
        }

    @classmethod
    @contextmanager
    def running(
        cls, environment: Mapping[str, str], folder: Path, names: tuple[str, ...] = NAMES
    ) -> Iterator[Self]:
        """Start these processes, and stop them all at the end, also after a failure."""
        service = cls(environment, folder)
        try:
            service.start(*names)
            yield service
        except BaseException:
            service.abandon()
            raise
        service.stop()

    def start(self, *names: str) -> None:
        """Start these processes (all, without names), and wait until they can also be stopped.

        The web is waited for until it says that it is healthy.
        """
        started = [self.processes[name] for name in names or NAMES]
        for process in started:
            process.launch()
        for process in started:
            process.ready(partial(process.catches, signal.SIGTERM))
        if "web" in (names or NAMES):
            self.processes["web"].ready(self._healthy)

    def pid(self, name: str) -> int:
        """The process id of one of them."""
        return self.processes[name].pid

    def log(self, name: str) -> str:
        """What one of them has written so far."""
        return self.processes[name].log

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Send one of them a signal, and wait for its end if the signal means it."""
        self.processes[name].signal(number)
        if number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            self.processes[name].wait()

    def restart(self, name: str) -> None:
        """Stop one of them politely, if it still runs, and start it again."""
        self.processes[name].stop()
        self.start(name)

    def stop(self) -> None:
        """Stop all with SIGTERM; whatever was still running must end with 0."""
        running = {name: one for name, one in self.processes.items() if one.running}
        for process in running.values():
            process.thaw()
            process.signal(signal.SIGTERM)
        ended = {name: process.wait() for name, process in running.items()}
        for process in running.values():
            process.stop()
        failed = [f"{name}: {code}\n{self.log(name)}" for name, code in ended.items() if code]
        assert not failed, "\n".join(["not every process stopped well:", *failed])
        for name in self.processes:
            assert not addresses(self.log(name)), f"{name} says addresses"

    def abandon(self) -> None:
        """Kill all, when a test has failed anyway."""
        for process in self.processes.values():
            process.kill()
            process.stop()

    def _healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/healthz", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False


def procfile() -> dict[str, str]:
    """Give the command of each process."""
    lines = (ROOT / "Procfile").read_text().splitlines()
    return {name: command.strip() for name, _, command in (line.partition(":") for line in lines)}
