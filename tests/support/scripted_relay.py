"""A relay that speaks SMTP in memory, and answers by a script or at random from a seed.

    relay = ScriptedRelay(clock, script(("ada@example.org", "rcpt", Answer("550 5.1.1 Unknown"))))

Stages are `banner`, `hello`, `mail`, `rcpt`, `data` and `dot`.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tests.support.virtual_time import VirtualClock

Stage = Literal["banner", "hello", "mail", "rcpt", "data", "dot"]
STAGES: tuple[Stage, ...] = ("banner", "hello", "mail", "rcpt", "data", "dot")

_GOOD: dict[Stage, str] = {
    "banner": "220 relay.example ESMTP",
    "hello": "250-relay.example\r\n250-PIPELINING\r\n250-SMTPUTF8\r\n250 ENHANCEDSTATUSCODES",
    "mail": "250 2.1.0 Ok",
    "rcpt": "250 2.1.5 Ok",
    "data": "354 End data with <CR><LF>.<CR><LF>",
    "dot": "250 2.0.0 Ok",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What the relay does at a stage; without a reply it is silent.

    `keeps` says for the dot whether the message is accepted, whatever is answered; None means
    that a reply of 2yz accepts it, and nothing else does.
    """

    reply: str | None
    delay: float = 0.0
    closes: bool = False
    keeps: bool | None = None


Script = Callable[[Stage, str, int], Answer | None]
"""The answer to a recipient at a stage, at the n-th time from 0; None for the usual one."""


def script(*lines: tuple[str, Stage, Answer]) -> Script:
    """Answer a recipient at a stage always so; "" is any recipient."""
    answers = {(recipient, stage): answer for recipient, stage, answer in lines}
    return lambda stage, recipient, _: answers.get((recipient, stage)) or answers.get(("", stage))


@dataclass(frozen=True, slots=True)
class Chances:
    """How probable each misbehaviour is; each is drawn independently of the others."""

    refusal: float = 0.0
    permanent: float = 0.3
    """Of the refusals: 5yz instead of 4yz."""
    delay: float = 0.0
    silence: float = 0.0
    closing: float = 0.0
    kept: float = 0.5
    """Of the dots that are not answered: the message was accepted."""
    stages: tuple[Stage, ...] = ("rcpt", "data", "dot")
    sick: float = 1.0
    """The share of recipients to whom this applies; stages before RCPT apply to all."""


def at_random(seed: object, chances: Chances) -> Script:
    """Answer at random, the same to the same recipient at the same stage and time."""

    def answer(stage: Stage, recipient: str, number: int) -> Answer | None:
        if stage not in chances.stages:
            return None
        if recipient and random.Random(f"{seed} {recipient}").random() >= chances.sick:
            return None
        draw = random.Random(f"{seed} {stage} {recipient} {number}")
        reply = _refusal(draw, chances.permanent) if draw.random() < chances.refusal else None
        delay = draw.choice((0.1, 2.0, 40.0)) if draw.random() < chances.delay else 0.0
        silent, closes = (draw.random() < one for one in (chances.silence, chances.closing))
        keeps = draw.random() < chances.kept if silent else None
        return Answer(None if silent else reply or _GOOD[stage], delay, closes, keeps)

    return answer


def _refusal(draw: random.Random, permanent: float) -> str:
    """Draw code and enhanced code independently: the latter may be absent or of another class."""
    first = 5 if draw.random() < permanent else 4
    code = draw.choice((f"{first}50", f"{first}51", f"{first}52", f"{first}54", "421"))
    enhanced_class = draw.choice((code[0], code[0], "4", "5", ""))
    detail = draw.choice(("1.1", "2.0", "2.2", "3.0", "4.2", "7.0", "7.1"))
    return f"{code} {enhanced_class}.{detail} No" if enhanced_class else f"{code} No"


@dataclass(frozen=True, slots=True)
class Taken:
    """One message that the relay has accepted."""

    at: float
    recipient: str
    content: bytes


class ScriptedRelay:
    """The relay: its script, its limits, and what it has heard and accepted."""

    def __init__(
        self,
        clock: VirtualClock,
        script: Script = lambda _stage, _recipient, _number: None,
        *,
        connections: int | None = None,
        messages_a_second: float | None = None,
    ) -> None:
        self.clock = clock
        self.script = script
        self.connections = connections
        self.messages_a_second = messages_a_second
        self.open: set[_Session] = set()
        self.named: list[tuple[float, str]] = []
        self.taken: list[Taken] = []
        self._times: Counter[tuple[Stage, str]] = Counter()
        self._free = 0.0

    def connect(self, protocol: asyncio.Protocol) -> None:
        """Take a connection, in place of the loop's `create_connection`; may raise OSError."""
        session = _Session(self, protocol)
        protocol.connection_made(session)
        session.begin(full=self.connections is not None and len(self.open) >= self.connections)

    def answer(self, stage: Stage, recipient: str = "") -> Answer:
        """Return what the script says now."""
        number = self._times[stage, recipient]
        self._times[stage, recipient] += 1
        throttled = stage == "mail" and self._throttles()
        if throttled:
            return Answer("450 4.7.1 Rate limit exceeded")
        return self.script(stage, recipient, number) or Answer(_GOOD[stage])

    def copies(self, header: bytes) -> Counter[str]:
        """Return how many messages with this header field each recipient has."""
        return Counter(one.recipient for one in self.taken if header in one.content)

    def _throttles(self) -> bool:
        if self.messages_a_second is None:
            return False
        start = max(self._free, self.clock.seconds - 1.0)
        if start > self.clock.seconds:
            return True
        self._free = start + 1 / self.messages_a_second
        return False


class _Session(asyncio.Transport):
    """One connection, seen from the client as its transport."""

    def __init__(self, relay: ScriptedRelay, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self._relay = relay
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._received = b""
        self._recipient = ""
        self._refused = False
        self._in_content = False
        self._busy = False
        self._closed = False

    def begin(self, *, full: bool) -> None:
        """Say the banner, or that there are too many connections."""
        self._relay.open.add(self)
        if full:
            self._answer(Answer("421 4.7.0 Too many connections", closes=True))
        else:
            self._answer(self._relay.answer("banner"))

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Receive what the client sends."""
        if not self._closed:
            self._received += bytes(data)
            self._loop.call_soon(self._go_on)

    def is_closing(self) -> bool:
        """Tell whether either side has closed the connection."""
        return self._closed

    def close(self) -> None:
        """Close the connection from the client's side."""
        self.abort()

    def abort(self) -> None:
        """Close at once; content whose dot has not come is forgotten."""
        if not self._closed:
            self._closed = True
            self._relay.open.discard(self)
            self._loop.call_soon(self._protocol.connection_lost, None)

    def _go_on(self) -> None:
        """Handle the next command or content, unless an answer is still to be sent."""
        while not (self._busy or self._closed):
            end = b"\r\n.\r\n" if self._in_content else b"\r\n"
            # A dot alone ends content that is empty.
            if self._in_content and self._received.startswith(b".\r\n"):
                line, self._received = b"", self._received[3:]
            else:
                line, found, rest = self._received.partition(end)
                if not found:
                    return
                self._received = rest
            if self._in_content:
                self._take(line)
            else:
                self._obey(line.decode())

    def _obey(self, line: str) -> None:
        verb = line[:4].upper()
        if verb == "QUIT":
            self._answer(Answer("221 2.0.0 Bye", closes=True))
        elif verb == "RSET":
            self._answer(Answer("250 2.0.0 Ok"))
        elif verb in ("EHLO", "HELO"):
            self._answer(self._relay.answer("hello"))
        elif verb == "MAIL":
            self._recipient, self._refused = "", False
            self._envelope("mail")
        elif verb == "RCPT":
            self._recipient = line[9 : line.index(">")]
            self._relay.named.append((self._relay.clock.seconds, self._recipient))
            self._envelope("rcpt")
        elif verb == "DATA":
            self._envelope("data")
        else:
            self._answer(Answer("500 5.5.1 Unknown command"))

    def _envelope(self, stage: Stage) -> None:
        """Answer a command of the envelope; after a refusal the following ones are out of order."""
        if self._refused:
            self._answer(Answer("503 5.5.1 Out of order"))
            return
        answer = self._relay.answer(stage, self._recipient)
        self._refused = answer.reply is not None and answer.reply[0] not in "23"
        self._in_content = stage == "data" and (answer.reply or "").startswith("3")
        self._answer(answer)

    def _take(self, content: bytes) -> None:
        self._in_content = False
        answer = self._relay.answer("dot", self._recipient)
        keeps = answer.keeps if answer.keeps is not None else (answer.reply or "").startswith("2")
        if content and keeps:
            self._relay.taken.append(Taken(self._relay.clock.seconds, self._recipient, content))
        self._answer(answer)

    def _answer(self, answer: Answer) -> None:
        self._busy = True
        self._loop.call_later(answer.delay, self._send, answer)

    def _send(self, answer: Answer) -> None:
        if self._closed:
            return
        if answer.reply is not None:
            self._protocol.data_received(f"{answer.reply}\r\n".encode())
        if answer.closes:
            self.abort()
        elif answer.reply is not None:
            self._busy = False
            self._go_on()
