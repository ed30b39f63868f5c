"""A real Postfix as the relay of a trial, which keeps every message in its hold queue."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from tests.mail_server import MailServer
from tests.servers import temporary_folder
from tests.support.relay_process import Entry, Named, RelayProcess

_HOLD = "smtpd_recipient_restrictions = check_recipient_access static:HOLD, permit\n"
_COMPLETE = 0o100
_HELD = "hold"
_MESSAGE_ID = re.compile(rb"Message-ID: (<[^>]+>)")
_RECIPIENT = re.compile(rb"[^-]To: <([^>]+)>")


class Postfix(RelayProcess):
    """Postfix with a configuration and a queue of its own."""

    def __init__(self, folder: Path, _seed: str) -> None:
        self._server = MailServer(folder, main=_HOLD)
        self.port, self.process = self._server.port, self._server.process
        self._held: dict[str, Entry] = {}
        """What is in its hold queue, where every message ends, by its name there."""

    @classmethod
    @contextmanager
    def open(cls, folder: Path, seed: str, delay: float) -> Iterator[Self]:
        """Run it in a folder that its many users may enter; its pace is its own."""
        with temporary_folder() as own:
            own.chmod(0o755)
            with super().open(own, seed, delay) as relay:
                yield relay

    @property
    def url(self) -> str:
        """Where to send; this one knows no passwords."""
        return self._server.url

    def start(self) -> None:
        """Start it, also after an abort, with the queue it had."""
        self._server.start()

    def kill(self) -> None:
        """End it as an operator in a hurry does: `postfix abort`, in the middle of messages."""
        self._server.order("abort")
        self.process.wait()

    def entries(self) -> list[Entry]:
        """Read the queue: the files that are complete."""
        incoming: dict[str, Entry] = {}
        for one in self._queue():
            if one.name not in self._held:
                found = self._held if one.parent.name == _HELD else incoming
                # Between two looks, a file may move to where it ends.
                with suppress(FileNotFoundError):
                    if one.stat().st_mode & _COMPLETE:
                        found[one.name] = self._entry(one)
        return [*self._held.values(), *(incoming[name] for name in incoming.keys() - self._held)]

    def named(self) -> list[Named]:
        """Give nothing: it writes no such thing down."""
        return []

    def taken(self) -> int:
        """How many messages are in the queue."""
        return len(self._queue())

    def _queue(self) -> list[Path]:
        queue = self._server.folder / "queue"
        return [one for name in ("incoming", _HELD) for one in (queue / name).iterdir()]

    @staticmethod
    def _entry(file: Path) -> Entry:
        content = file.read_bytes()
        recipient, message_id = _RECIPIENT.search(content), _MESSAGE_ID.search(content)
        assert recipient, file
        assert message_id, file
        return Entry(
            at=file.stat().st_ctime,
            connection=0,
            client="",
            recipient=recipient[1].decode(),
            message_id=message_id[1].decode(),
            one_click="",
            lost=False,
        )
