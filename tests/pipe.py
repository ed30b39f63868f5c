"""A pipe transport of Postfix: it feeds a program what arrives, and hears how that ended."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.servers import temporary_folder

# Postfix runs nothing as root, and nobody else may be able to read this checkout: so this script
# only hands over what it is given, and ends as the program has, which the test runs as itself.
_SCRIPT = """\
#!/bin/sh
{{ echo "$1"; cat; }} >{folder}/message
read -r status <{folder}/status && exit "$status"
"""


@dataclass(frozen=True)
class Ending:
    """How the program ended for a recipient, and what it said."""

    recipient: str
    status: int
    said: str


class Pipe:
    """Runs a program, the recipient its last argument, on one message after another."""

    def __init__(self, folder: Path, command: list[str]) -> None:
        self.script = folder / "script"
        self.endings: list[Ending] = []
        self._command = command
        self._message, self._status = folder / "message", folder / "status"
        for queue in (self._message, self._status):
            os.mkfifo(queue)
            queue.chmod(0o666)
        self.script.write_text(_SCRIPT.format(folder=folder))
        self.script.chmod(0o755)

    @classmethod
    @contextmanager
    def running(cls, command: list[str]) -> Iterator[Self]:
        """Wait for messages, until the end."""
        with temporary_folder() as folder:
            folder.chmod(0o755)
            pipe = cls(folder, command)
            thread = threading.Thread(target=pipe._serve, name="pipe", daemon=True)
            thread.start()
            try:
                yield pipe
            finally:
                pipe._message.write_bytes(b"\n")
                thread.join()

    def ended_for(self, recipient: str) -> list[Ending]:
        """List how it has ended for one recipient so far."""
        return [ending for ending in self.endings if ending.recipient == recipient]

    def _serve(self) -> None:
        while (arrived := self._message.read_bytes()) != b"\n":
            recipient, _, message = arrived.partition(b"\n")
            ended = subprocess.run(
                [*self._command, recipient.decode()],
                input=message,
                env={"PATH": os.defpath},
                capture_output=True,
                check=False,
            )
            ending = Ending(recipient.decode(), ended.returncode, ended.stderr.decode())
            self.endings.append(ending)
            self._status.write_text(f"{ended.returncode}\n")
