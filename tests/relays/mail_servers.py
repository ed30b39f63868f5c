"""Real mail servers as relays, Postfix and Exim, which can be started anew with limits."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from tests.processes import Process, free_port, listens
from tests.servers import LOOPBACK, temporary_folder
from tests.service import ROOT
from tests.support.postfix import Postfix
from tests.support.relay_process import Entry, Named, RelayProcess

_EXIM = ROOT / ".exim" / "usr" / "sbin" / "exim4"
_USER = "Debian-exim"
"""Whom it asks for when it starts, whoever starts it; tests/relays/exim-parts.sh adds this user."""
_CONFIGURATION = """\
primary_hostname = relay.example.org
spool_directory = {folder}/spool
log_file_path = {folder}/log/%slog
log_selector = +received_recipients +millisec
exim_user = {user}
exim_group = {user}
never_users =
daemon_smtp_ports = {port}
local_interfaces = 127.0.0.1
queue_only = true
smtp_accept_max = 400
smtp_accept_queue_per_connection = 0
keep_environment =
acl_smtp_rcpt = accept
acl_smtp_data = accept
{limits}
begin acl
accept:
  accept
begin routers
begin transports
"""
_REFUSED = re.compile(r"limit exceeded: | reject: | refused: |too many messages")
_RECEIVED = re.compile(r"^(\S+ \S+) \S+ <= .* id=(\S+) for (\S+)$", re.MULTILINE)


class LimitedPostfix(Postfix):
    """Postfix that can be started anew with more lines in its configuration."""

    def limit(self, lines: str) -> None:
        """Start it anew with these lines."""
        self.process.stop()
        with (self._server.folder / "main.cf").open("a") as configuration:
            configuration.write(lines)
        self.start()

    def refusals(self) -> int:
        """How often its log says that it has refused something."""
        return len(_REFUSED.findall(self._server.log))

    def order(self, words: str) -> None:
        """Follow no order but those for its pace and its usual mood, which it has anyway."""


class Exim(RelayProcess):
    """Debian's Exim, unpacked beside everything, which keeps every message in its queue."""

    def __init__(self, folder: Path, _seed: str) -> None:
        self.port = free_port()
        self._folder = folder
        for name in ("spool", "log"):
            (folder / name).mkdir()
            shutil.chown(folder / name, _USER)
        self._configure("")
        command = [str(_EXIM), "-C", str(folder / "exim.conf"), "-bdf", "-q30m"]
        user = _USER if os.geteuid() == 0 else None
        self.process = Process(command, folder / "exim.log", user=user)

    @classmethod
    @contextmanager
    def open(cls, folder: Path, seed: str, delay: float) -> Iterator[Self]:
        """Run it in a folder that its user may enter; its pace is its own."""
        with temporary_folder() as own:
            own.chmod(0o755)
            with super().open(own, seed, delay) as relay:
                yield relay

    @property
    def url(self) -> str:
        """Where to send; this one knows no passwords."""
        return f"smtp://{LOOPBACK}:{self.port}"

    def start(self) -> None:
        """Start it, with the queue it had."""
        self.process.launch()
        self.process.ready(lambda: listens(self.port))

    def limit(self, lines: str) -> None:
        """Start it anew with these lines in its configuration."""
        self.process.stop()
        self._configure(lines)
        self.start()

    def order(self, words: str) -> None:
        """Follow no order but those for its pace and its usual mood, which it has anyway."""

    def refusals(self) -> int:
        """How often its log says that it has refused something."""
        return len(_REFUSED.findall((self._folder / "log" / "mainlog").read_text()))

    def entries(self) -> list[Entry]:
        """Read its log: what it has taken."""
        log = self._folder / "log" / "mainlog"
        found = _RECEIVED.findall(log.read_text()) if log.exists() else []
        return [Entry(_moment(at), 0, "", whom, f"<{one}>", "", False) for at, one, whom in found]

    def named(self) -> list[Named]:
        """Give nothing: it writes no such thing down."""
        return []

    def taken(self) -> int:
        """How many messages it has taken."""
        return len(self.entries())

    def _configure(self, limits: str) -> None:
        text = _CONFIGURATION.format(folder=self._folder, user=_USER, port=self.port, limits=limits)
        (self._folder / "exim.conf").write_text(text)


def _moment(local: str) -> float:
    """Read the time of a line of the log, which is local time."""
    return time.mktime(time.strptime(local[:19], "%Y-%m-%d %H:%M:%S")) + float(f"0{local[19:]}")
