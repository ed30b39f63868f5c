"""The relay of a trial, seen from outside: its process, its mood, and what it has written down."""

from __future__ import annotations

import signal
import smtplib
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.processes import Process, eventually, free_port, listens
from tests.servers import LOOPBACK
from tests.support.misbehaviour import Rule, written
from tests.support.recorder import NAMED, ORDERS

_PROGRAM = "tests.support.recorder"
_QUIET_SECONDS = 1.0


@dataclass(frozen=True)
class Entry:
    """One message as the relay took it, whether or not its answer arrived."""

    at: float
    connection: int
    client: str
    recipient: str
    message_id: str
    one_click: str
    lost: bool


@dataclass(frozen=True)
class Named:
    """One answer of the relay to an RCPT, or another one that was not the usual."""

    at: float
    stage: str
    address: str
    reply: str
    """Empty if it closed the connection."""


@dataclass(frozen=True)
class Count:
    """What arrived, compared with what should have."""

    lost: int
    duplicates: int
    doubled: set[str]


class RelayProcess:
    """A recording relay in a process of its own."""

    LISTEN = LOOPBACK

    def __init__(self, folder: Path, seed: str) -> None:
        self.port = free_port()
        self._record = folder / "record"
        self._record.touch()
        self._entries: list[Entry] = []
        self._offset = 0
        place = [self.LISTEN, str(self.port)]
        command = [sys.executable, "-m", _PROGRAM, *place, str(self._record), seed]
        self.process = Process(command, folder / "relay.log")
        self._mood, self._delay = "well", 0.0

    @classmethod
    @contextmanager
    def open(cls, folder: Path, seed: str, delay: float) -> Iterator[Self]:
        """Run a relay that takes so many seconds over each message."""
        relay = cls(folder, seed)
        try:
            relay._delay = delay
            relay.start()
            yield relay
        finally:
            relay.process.stop()

    @property
    def url(self) -> str:
        """Where to send, as `SMTP_URL` wants it, with a password nobody minds when all is well."""
        return f"smtp://press:secret@127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, also after a kill, on the same port, and in the same mood."""
        self.process.launch()
        self.process.ready(lambda: listens(self.port))
        self.order(f"DELAY {self._delay}")
        self.order(self._mood)

    def order(self, words: str) -> None:
        """Change its mood: `well`, `busy`, `stranger` (to every password), `forgetful SHARE`."""
        with smtplib.SMTP(timeout=60, source_address=(ORDERS, 0)) as client:
            # A busy one greets with 421, and listens all the same.
            client.connect(LOOPBACK, self.port)
            assert client.docmd("XMOOD", words)[0] == 250
        if not words.startswith("DELAY"):
            self._mood = words

    def follow(self, rules: Iterable[Rule]) -> None:
        """Let it answer by these rules, from now on."""
        self.order(f"rules {written(rules)}")

    def kill(self) -> None:
        """Kill it in the middle of whatever it does."""
        self.process.kill()

    def freeze(self) -> None:
        """Let it fall silent: connections open, no answers, nothing refused."""
        self.process.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on, and take what has come in the meantime."""
        self.process.thaw()

    def entries(self) -> list[Entry]:
        """Read the record, in the order of arrival."""
        with self._record.open("rb") as record:
            record.seek(self._offset)
            new = record.read()
        # The last line may be half written.
        new = new[: new.rfind(b"\n") + 1]
        self._offset += len(new)
        for line in new.decode().splitlines():
            at, connection, client, whom, message_id, one_click, lost = line.split("\t")
            where = (float(at), int(connection), client, whom, message_id, one_click)
            self._entries.append(Entry(*where, lost == "lost"))
        return list(self._entries)

    def named(self) -> list[Named]:
        """Read whom it was named by RCPT, and what else it answered that was not the usual."""
        lines = self._record.with_name(self._record.name + NAMED).read_text().splitlines()
        fields = (line.split("\t") for line in lines)
        return [Named(float(at), stage, whom, reply) for at, _, stage, whom, reply in fields]

    def taken(self) -> int:
        """How many messages it has taken so far."""
        return self._record.read_bytes().count(b"\n")

    def quiet(self) -> None:
        """Wait until nothing has come for a second."""
        taken, since = self.taken(), time.monotonic()

        def still() -> bool:
            nonlocal taken, since
            if self.taken() != taken:
                taken, since = self.taken(), time.monotonic()
            return time.monotonic() - since > _QUIET_SECONDS

        eventually(still, "the relay gets nothing any more")

    def count(self, recipients: set[str], releases: int) -> Count:
        """Compare what came with one message of each release for everybody."""
        copies: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for entry in self.entries():
            copies[entry.recipient][entry.message_id] += 1
        return Count(
            lost=sum(max(0, releases - len(copies[one])) for one in recipients),
            duplicates=sum(got.total() - min(len(got), releases) for got in copies.values()),
            doubled={one for one, got in copies.items() if max(got.values(), default=0) > 1},
        )
