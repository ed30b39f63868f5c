"""A real Postfix as the relay of a trial, which keeps every message in its hold queue."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from tests.faults.post import Entry, Post
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
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_recipient_restrictions = check_recipient_access static:HOLD, permit
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
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""
_COMPLETE = 0o100
_MESSAGE_ID = re.compile(rb"Message-ID: (<[^>]+>)")
_RECIPIENT = re.compile(rb"[^-]To: <([^>]+)>")


class Postfix(Post):
    """Postfix with a configuration and a queue of its own."""

    def __init__(self, folder: Path, _seed: str) -> None:
        self.port = free_port()
        self._folder = folder
        (folder / "data").mkdir()
        shutil.chown(folder / "data", "postfix")
        (folder / "queue").mkdir()
        (folder / "main.cf").write_text(_MAIN.format(folder=folder))
        (folder / "master.cf").write_text(_MASTER.format(port=self.port))
        self._postfix("check")  # which also makes what is not there
        # By itself, since `postfix start` leaves it with nobody to end it.
        command = ["/usr/lib/postfix/sbin/master", "-c", str(folder), "-d"]
        self.process = Process(command, folder / "master.log")

    @classmethod
    @contextmanager
    def open(cls, folder: Path, seed: str, pace: float) -> Iterator[Self]:
        """Run it in a folder that its many users may enter; its pace is its own."""
        with temporary_folder() as own:
            own.chmod(0o755)
            with super().open(own, seed, pace) as post:
                yield post

    @property
    def url(self) -> str:
        """Where to send; this one knows no passwords."""
        return f"smtp://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, also after an abort, with the queue it had."""
        self.process.launch()
        self.process.ready(lambda: listens(self.port))

    def kill(self) -> None:
        """End it as an operator in a hurry does: `postfix abort`, in the middle of messages."""
        self._postfix("abort")
        self.process.wait()

    def entries(self) -> list[Entry]:
        """Read the queue: the files that are complete."""
        files = [one for one in self._queue() if one.stat().st_mode & _COMPLETE]
        return [self._entry(one) for one in files]

    def taken(self) -> int:
        """How many messages are in the queue."""
        return len(self._queue())

    def _postfix(self, command: str) -> None:
        program = [find_program("postfix"), "-c", str(self._folder), command]
        subprocess.run(program, check=True, capture_output=True)

    def _queue(self) -> list[Path]:
        queue = self._folder / "queue"
        return [one for name in ("incoming", "hold") for one in (queue / name).iterdir()]

    @staticmethod
    def _entry(file: Path) -> Entry:
        content = file.read_bytes()
        recipient, message_id = _RECIPIENT.search(content), _MESSAGE_ID.search(content)
        assert recipient, file
        assert message_id, file
        return Entry(
            at=file.stat().st_mtime,
            connection=0,
            client="",
            recipient=recipient[1].decode(),
            message_id=message_id[1].decode(),
            one_click="",
            lost=False,
        )
