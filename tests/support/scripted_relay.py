"""A relay that speaks SMTP in memory, and answers by a script or at random from a seed.

    relay = ScriptedRelay(clock, script(("ada@example.org", "rcpt", Answer("550 5.1.1 Unknown"))))

Stages are `banner`, `hello`, `mail`, `rcpt`, `data` and `dot`. It keeps to RFC 5321: what is out of
order gets 503, a message goes to each recipient that was accepted, and after 421 the connection
is closed.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from tests.support.virtual_time import VirtualClock

Stage = Literal["banner", "hello", "mail", "rcpt", "data", "dot"]
Moment = Literal["before", "after"]
STAGES: tuple[Stage, ...] = ("banner", "hello", "mail", "rcpt", "data", "dot")

_GOOD: dict[Stage, str] = {
    "banner": "220 relay.example ESMTP",
    "hello": "250-relay.example\r\n250-PIPELINING\r\n250-SMTPUTF8\r\n250 ENHANCEDSTATUSCODES",
    "mail": "250 2.1.0 Ok",
    "rcpt": "250 2.1.5 Ok",
    "data": "354 End data with <CR><LF>.<CR><LF>",
    "dot": "250 2.0.0 Ok",
}
_HELO = "250 relay.example"
_RCPT = re.compile(r"RCPT TO:<([^>]+)>", re.IGNORECASE)
_CUT_SECONDS = 0.001


@dataclass(frozen=True, slots=True)
class Answer:
    """What the relay does at a stage; without a reply it is silent.

    `keeps` says for the dot whether the message is accepted, whatever is answered; None means
    that a reply of 2yz accepts it, and nothing else does. `closes` says whether the relay then
    closes the connection; None means that it does so after 421, as the RFC says.
    """

    reply: str | None
    delay: float = 0.0
    closes: bool | None = None
    keeps: bool | None = None

    @property
    def takes(self) -> bool:
        """Whether a message that gets this answer at its dot is accepted."""
        return self.keeps if self.keeps is not None else self.says("2")

    @property
    def ends(self) -> bool:
        """Whether the relay closes the connection after this answer."""
        return self.closes if self.closes is not None else self.says("421")

    def says(self, digits: str) -> bool:
        """Tell whether the code of the reply begins so."""
        return self.reply is not None and self.reply.startswith(digits)


_OUT_OF_ORDER = Answer("503 5.5.1 Out of order")

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


def is_sick(seed: object, recipient: str, share: float) -> bool:
    """Tell whether a recipient is among the share that is answered at random; always the same."""
    return random.Random(f"{seed} {recipient}").random() < share


def at_random(seed: object, chances: Chances) -> Script:
    """Answer at random, the same to the same recipient at the same stage and time."""

    def answer(stage: Stage, recipient: str, number: int) -> Answer | None:
        if stage not in chances.stages:
            return None
        if recipient and not is_sick(seed, recipient, chances.sick):
            return None
        draw = random.Random(f"{seed} {stage} {recipient} {number}")
        reply = _refusal(draw, chances.permanent) if draw.random() < chances.refusal else None
        delay = draw.choice((0.1, 2.0, 40.0)) if draw.random() < chances.delay else 0.0
        silent, closes = (draw.random() < one for one in (chances.silence, chances.closing))
        keeps = draw.random() < chances.kept if silent else None
        # None: whether or not the draw says so, 421 closes.
        return Answer(None if silent else reply or _GOOD[stage], delay, closes or None, keeps)

    return answer


def _refusal(draw: random.Random, permanent: float) -> str:
    """Draw code and enhanced code independently: the latter may be absent or of another class."""
    first = 5 if draw.random() < permanent else 4
    code = draw.choice((f"{first}50", f"{first}51", f"{first}52", f"{first}54", "421"))
    enhanced_class = draw.choice((code[0], code[0], "4", "5", ""))
    detail = draw.choice(("1.1", "2.0", "2.2", "3.0", "4.2", "7.0", "7.1"))
    return f"{code} {enhanced_class}.{detail} No" if enhanced_class else f"{code} No"


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer to a command or a dot: when it was made, and about whom."""

    at: float
    sender: str
    """The MAIL command of the transaction."""
    stage: Stage
    recipient: str
    answer: Answer
    written: int
    """For RCPT, what `ScriptedRelay.writes` was when the command arrived."""


@dataclass(frozen=True, slots=True)
class Taken:
    """One message that the relay has accepted for one recipient, without dot-stuffing."""

    at: float
    recipient: str
    content: bytes
    sender: str = ""
    """The MAIL command of the transaction."""
    began: float = 0.0
    """When the first octet of the content came."""


class ScriptedRelay:
    """The relay: its script, its limits, and what it has heard and accepted."""

    def __init__(
        self,
        clock: VirtualClock,
        script: Script = lambda _stage, _recipient, _number: None,
        *,
        connections: int | None = None,
        messages_a_second: float | None = None,
        messages_a_connection: tuple[int, Stage] | None = None,
        cuts: object | None = None,
    ) -> None:
        """Make a relay; replies are cut and joined at random if `cuts`, their seed, is given.

        `messages_a_connection`: after so many, the relay says 421 at this stage.
        """
        self.clock = clock
        self.script = script
        self.connections = connections
        self.messages_a_second = messages_a_second
        self.messages_a_connection = messages_a_connection
        self.cuts = None if cuts is None else random.Random(f"{cuts} cuts")
        self.open: set[_Session] = set()
        self.named: list[tuple[float, str]] = []
        self.sender = ""
        """The MAIL command that is being answered, for scripts that look at the sender."""
        self.taken: list[Taken] = []
        self.answered: list[Answered] = []
        """All answers about a recipient, and those to MAIL."""
        self.writes = 0
        """How often a client has written."""
        self.dots = self.dots_answered = 0
        """The dots that came, and those whose answer the client could read to its end."""
        self.at_dot: Callable[[int, Moment, asyncio.Protocol], None] = lambda *_: None
        """Is told the number of each dot, from 0, before and after it is answered, and of whom."""
        self._times: Counter[tuple[Stage, str]] = Counter()
        self._free = 0.0

    def connect(self, protocol: asyncio.Protocol) -> None:
        """Take a connection, in place of the loop's `create_connection`; may raise OSError."""
        session = _Session(self, protocol)
        protocol.connection_made(session)
        session.begin(full=self.connections is not None and len(self.open) >= self.connections)

    def answer(self, stage: Stage, recipient: str = "", messages: int = 0) -> Answer:
        """Return what the script says now; the connection has carried so many messages."""
        if self.messages_a_connection is not None:
            at_most, limited = self.messages_a_connection
            if stage == limited and messages >= at_most:
                return Answer("421 4.7.0 Too many messages")
        number = self._times[stage, recipient]
        self._times[stage, recipient] += 1
        throttled = stage == "mail" and self._throttles()
        if throttled:
            return Answer("450 4.7.1 Rate limit exceeded")
        return self.script(stage, recipient, number) or Answer(_GOOD[stage])

    def heal(self) -> None:
        """Start anew: drop every connection, and accept everything from now on."""
        self.script = lambda _stage, _recipient, _number: None
        self.connections = self.messages_a_second = self.messages_a_connection = None
        for session in list(self.open):
            session.abort()

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
        self._unsent = b""
        self._unwelcome = False
        self._has_sender = False
        self._sender = ""
        self._recipients: list[str] = []
        self._in_content = False
        self._content_began: float | None = None
        self._arrived: deque[int] = deque()
        self._messages = 0
        self._answered: int | None = None
        """The number of a dot whose reply the client may not have read to its end."""
        self._busy = False
        self._closed = False

    def begin(self, *, full: bool) -> None:
        """Say the banner, or that there are too many connections."""
        self._relay.open.add(self)
        too_many = Answer("421 4.7.0 Too many connections")
        answer = too_many if full else self._relay.answer("banner")
        self._unwelcome = answer.says("5")
        self._answer(answer)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Receive what the client sends."""
        if not self._closed:
            if self._in_content and self._content_began is None:
                self._content_began = self._relay.clock.seconds
            self._relay.writes += 1
            commands = len(_RCPT.findall(bytes(data).decode(errors="replace")))
            self._arrived.extend([self._relay.writes] * commands)
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
                self._received = self._received[3:]
                self._take(b"")
                continue
            line, found, rest = self._received.partition(end)
            if not found:
                return
            self._received = rest
            if self._in_content:
                # The line break before the dot belongs to the content.
                self._take(line + b"\r\n")
            else:
                self._obey(line.decode())

    def _obey(self, line: str) -> None:
        verb = line[:4].upper()
        if verb == "QUIT":
            self._answer(Answer("221 2.0.0 Bye", closes=True))
        elif self._unwelcome:
            self._answer(_OUT_OF_ORDER)
        elif verb == "RSET":
            self._forget()
            self._answer(Answer("250 2.0.0 Ok"))
        elif verb in ("EHLO", "HELO"):
            self._forget()
            answer = self._relay.answer("hello")
            # Only EHLO is told extensions, and so more than one line.
            briefly = verb == "HELO" and answer.says("2")
            self._answer(replace(answer, reply=_HELO) if briefly else answer)
        elif verb in ("MAIL", "RCPT", "DATA"):
            self._answer(self._envelope(verb, line))
        else:
            self._answer(Answer("500 5.5.1 Unknown command"))

    def _envelope(self, verb: str, line: str) -> Answer:
        """Obey a command of the envelope in its order: MAIL once, RCPT, more RCPT, DATA."""
        recipient = _RCPT.match(line)
        if verb == "RCPT":
            if recipient is None:
                return Answer("501 5.5.4 RCPT TO:<address>")
            self._relay.named.append((self._relay.clock.seconds, recipient[1]))
        # Also of one that is out of order, since its sender was refused.
        written = self._arrived.popleft() if recipient is not None else 0
        if verb == "MAIL" and not self._has_sender:
            self._relay.sender = self._sender = line
            answer = self._relay.answer("mail", "", self._messages)
            self._note("mail", "", answer)
            self._has_sender = answer.says("2")
        elif recipient is not None and self._has_sender:
            answer = self._relay.answer("rcpt", recipient[1], self._messages)
            self._note("rcpt", recipient[1], answer, written)
            self._recipients += [recipient[1]] if answer.says("2") else []
        elif verb == "DATA" and self._recipients:
            answer = self._relay.answer("data", self._recipients[-1], self._messages)
            self._note("data", self._recipients[-1], answer)
            self._in_content = answer.says("3")
        else:
            answer = _OUT_OF_ORDER
        return answer

    def _take(self, stuffed: bytes) -> None:
        """Take a message, whose dot has come, for each of its recipients."""
        number, self._relay.dots = self._relay.dots, self._relay.dots + 1
        answer = self._relay.answer("dot", self._recipients[-1], self._messages)
        self._note("dot", self._recipients[-1], answer)
        content = (b"\r\n" + stuffed).replace(b"\r\n.", b"\r\n")[2:]
        if answer.takes:
            self._messages += 1
            at = self._relay.clock.seconds
            began = at if self._content_began is None else self._content_began
            self._relay.taken += [
                Taken(at, one, content, self._sender, began) for one in self._recipients
            ]
        self._forget()
        self._relay.at_dot(number, "before", self._protocol)
        self._answer(answer, dot=number)

    def _forget(self) -> None:
        """End the transaction; the next begins with MAIL."""
        self._has_sender = self._in_content = False
        self._recipients, self._content_began = [], None

    def _note(self, stage: Stage, recipient: str, answer: Answer, written: int = 0) -> None:
        at = self._relay.clock.seconds
        answered = Answered(at, self._sender, stage, recipient, answer, written)
        self._relay.answered.append(answered)

    def _answer(self, answer: Answer, dot: int | None = None) -> None:
        self._busy = True
        self._loop.call_later(answer.delay, self._send, answer, dot)

    def _send(self, answer: Answer, dot: int | None) -> None:
        if self._closed:
            return
        if answer.reply is not None:
            self._unsent += f"{answer.reply}\r\n".encode()
            self._answered = dot if dot is not None else self._answered
            self._pass_on(whole=answer.ends)
        if answer.ends:
            self.abort()
        elif answer.reply is not None:
            self._busy = False
            self._go_on()

    def _pass_on(self, *, whole: bool = False) -> None:
        """Let the client read up to a random place, and the rest a little later, if ever so."""
        if self._closed or not self._unsent:
            return
        cuts = self._relay.cuts
        place = len(self._unsent) if whole or cuts is None else cuts.randint(0, len(self._unsent))
        now, self._unsent = self._unsent[:place], self._unsent[place:]
        if now:
            self._protocol.data_received(now)
        if self._unsent:
            self._loop.call_later(_CUT_SECONDS, self._pass_on)
        elif self._answered is not None:
            dot, self._answered = self._answered, None
            self._relay.dots_answered += 1
            self._relay.at_dot(dot, "after", self._protocol)
