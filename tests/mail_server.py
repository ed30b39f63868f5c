"""A real Postfix with a configuration, a queue and a log of its own, on loopback only."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from tests.processes import Process, free_port, listens
from tests.servers import find_program, temporary_folder

_MAIN = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
myhostname = relay.example.org
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_client_connection_count_limit = 0
alias_maps =
"""
_MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
error unix - - n - - error
retry unix - - n - - error
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
scache unix - - n - 1 scache
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""


class MailServer:
    """Postfix; `main` and `master` are lines for its two files, after those that all need."""

    def __init__(self, folder: Path, main: str = "", master: str = "") -> None:
        assert os.geteuid() == 0, "Postfix is started by root, and then runs as its own users"
        self.port = free_port()
        self.folder = folder
        (folder / "data").mkdir()
        shutil.chown(folder / "data", "postfix")
        (folder / "queue").mkdir()
        (folder / "main.cf").write_text(_MAIN.format(folder=folder) + main)
        (folder / "master.cf").write_text(_MASTER.format(port=self.port) + master)
        self.order("check")  # which also makes what is not there
        # By itself, since `postfix start` leaves it with nobody to end it.
        command = ["/usr/lib/postfix/sbin/master", "-c", str(folder), "-d"]
        self.process = Process(command, folder / "master.log")

    @classmethod
    @contextmanager
    def running(cls, main: str = "", master: str = "") -> Iterator[Self]:
        """Start it in a folder that its many users may enter, and stop it at the end."""
        with temporary_folder() as folder:
            folder.chmod(0o755)
            server = cls(folder, main, master)
            try:
                server.start()
                yield server
            finally:
                server.process.stop()

    @property
    def url(self) -> str:
        """Where to send, as `SMTP_URL` wants it; it knows no passwords."""
        return f"smtp://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """What it has noted about every message."""
        return (self.folder / "log").read_text()

    def start(self) -> None:
        """Start it, also after an abort, with the queue it had."""
        self.process.launch()
        self.process.ready(lambda: listens(self.port))

    def order(self, command: str) -> None:
        """Give it an order, as its operator does: `check`, `abort`."""
        program = [find_program("postfix"), "-c", str(self.folder), command]
        subprocess.run(program, check=True, capture_output=True)
