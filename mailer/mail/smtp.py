"""An SMTP client (RFC 5321) for handing over one message after another, each dot by itself.

The final dot is a step of its own, because the dot of one message may only leave when the
acknowledgement of the message before it has been written down.
"""

from __future__ import annotations

import asyncio
import base64
import re
import socket
import ssl
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, NoReturn, Self, TypeVar

from mailer.config import Relay

T = TypeVar("T")
Stage = Literal["connect", "auth", "mail", "rcpt", "data", "dot"]

# RFC 5321 section 4.5.3.2, in seconds.
_TIMEOUTS = {"connect": 300, "auth": 300, "mail": 300, "rcpt": 300, "data": 120, "dot": 600}
_BLOCK_SECONDS = 180
_GOODBYE_SECONDS = 2
_ENHANCED = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?=\s|$)")
_LONGEST_REPLY_LINES = 100
_OUR_NAME = re.sub(r"[^A-Za-z0-9.-]", "", socket.gethostname()) or "[127.0.0.1]"


@dataclass(frozen=True, slots=True)
class Reply:
    """A server's answer: its code, its enhanced status code if it gave one, and its text."""

    code: int
    enhanced: str | None
    text: str

    @property
    def positive(self) -> bool:
        """Whether the answer is 2yz or 3yz."""
        return self.code // 100 in (2, 3)

    @property
    def completed(self) -> bool:
        """Whether the answer is 2yz: done."""
        return self.code // 100 == 2  # noqa: PLR2004 - the RFC's own digit

    @property
    def continues(self) -> bool:
        """Whether the answer is 3yz: now the rest."""
        return self.code // 100 == 3  # noqa: PLR2004 - the RFC's own digit

    @property
    def permanent(self) -> bool:
        """Whether the answer is 5yz: the same again would be answered the same."""
        return self.code // 100 == 5  # noqa: PLR2004 - the RFC's own digit

    @property
    def status(self) -> str:
        """The enhanced status code (RFC 3463), or the plain code where there is none."""
        return self.enhanced or str(self.code)


class SmtpError(Exception):
    """The hand-over did not go through; `stage` says how far it came."""

    def __init__(self, stage: Stage, sentence: str) -> None:
        super().__init__(sentence)
        self.stage: Stage = stage


class Rejected(SmtpError):
    """The server said no; the connection is still good for the next message."""

    def __init__(self, stage: Stage, reply: Reply) -> None:
        super().__init__(stage, f"{reply.code} {reply.text}")
        self.reply = reply


class Unanswered(SmtpError):
    """The connection is lost, or the answer did not come in time."""


class SmtpConnection:
    """One connection to the relay, open for any number of messages."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, longest_wait: float
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._longest_wait = longest_wait
        self.extensions: dict[str, str] = {}

    @classmethod
    async def open(cls, relay: Relay, *, longest_wait: float = 600) -> Self:
        """Connect, greet, secure and log in; raises Rejected or Unanswered.

        `longest_wait` shortens the limits of RFC 5321, in seconds.
        """
        context = ssl.create_default_context() if relay.security != "none" else None
        implicit = context if relay.security == "tls" else None
        reader, writer = await _answered(
            "connect",
            asyncio.open_connection(relay.host, relay.port, ssl=implicit, limit=1 << 16),
            min(longest_wait, _TIMEOUTS["connect"]),
        )
        connection = cls(reader, writer, longest_wait)
        try:
            await connection._greet(relay, context if relay.security == "starttls" else None)
        except BaseException:
            connection.abort()
            raise
        return connection

    @property
    def smtputf8(self) -> bool:
        """Whether addresses beyond ASCII may be used (RFC 6531)."""
        return "SMTPUTF8" in self.extensions

    async def envelope(self, sender: str, recipient: str, size: int) -> None:
        """Send MAIL, RCPT and DATA, so that the server waits for the body.

        `size` is that of the message in octets (RFC 1870). With PIPELINING (RFC 2920) the
        three leave together. Raises Rejected, after which the next envelope may follow.
        """
        commands: list[tuple[Stage, str]] = [
            ("mail", f"MAIL FROM:<{sender}>{self._parameters(recipient, size)}"),
            ("rcpt", f"RCPT TO:<{recipient}>"),
            ("data", "DATA"),
        ]
        if "PIPELINING" in self.extensions:
            await self._pipeline(commands)
        else:
            for stage, command in commands:
                reply = await self._command(stage, command)
                if not self._fits(stage, reply):
                    await self._give_up(Rejected(stage, reply))

    async def body(self, message: bytes) -> None:
        """Send a message, dot-stuffed and ended by CRLF, but without the dot that ends it."""
        self._writer.write(message)
        await _answered("data", self._writer.drain(), min(self._longest_wait, _BLOCK_SECONDS))

    async def dot(self) -> Reply:
        """End the message and return the server's verdict; raises Unanswered without one."""
        self._writer.write(b".\r\n")
        reply = await self._reply("dot")
        self._fits("dot", reply)
        return reply

    async def quit(self) -> None:
        """Say goodbye and close, without waiting long for an answer."""
        try:
            self._writer.write(b"QUIT\r\n")
            await asyncio.wait_for(self._reader.readline(), _GOODBYE_SECONDS)
        except (OSError, TimeoutError, ValueError):
            pass
        self.abort()

    def abort(self) -> None:
        """Close at once; a message without its dot is never delivered."""
        self._writer.transport.abort()

    async def _greet(self, relay: Relay, starttls: ssl.SSLContext | None) -> None:
        self._good("connect", await self._reply("connect"))
        await self._hello()
        if starttls is not None:
            self._good("connect", await self._command("connect", "STARTTLS"))
            if getattr(self._reader, "_buffer", b""):
                # Whatever came before the encryption may be anybody's (RFC 3207 section 6).
                raise Unanswered("connect", "The server says more than it was asked.")
            await _answered(
                "connect",
                self._writer.start_tls(starttls, server_hostname=relay.host),
                min(self._longest_wait, _TIMEOUTS["connect"]),
            )
            await self._hello()
        if relay.user is not None:
            await self._log_in(relay.user, relay.password or "")

    async def _hello(self) -> None:
        reply = await self._command("connect", f"EHLO {_OUR_NAME}")
        if not reply.positive:
            reply = self._good("connect", await self._command("connect", f"HELO {_OUR_NAME}"))
        lines = (line.partition(" ") for line in reply.text.splitlines()[1:])
        self.extensions = {keyword.upper(): rest for keyword, _, rest in lines}

    async def _log_in(self, user: str, password: str) -> None:
        """Authenticate by PLAIN (RFC 4616), or by LOGIN where a server knows only that."""
        if "LOGIN" in self.extensions.get("AUTH", "") and "PLAIN" not in self.extensions["AUTH"]:
            for word in ("AUTH LOGIN", _base64(user)):
                self._good("auth", await self._command("auth", word))
            last = _base64(password)
        else:
            last = f"AUTH PLAIN {_base64(chr(0).join(('', user, password)))}"
        reply = self._good("auth", await self._command("auth", last))
        self._fits("auth", reply)

    def _parameters(self, recipient: str, size: int) -> str:
        parameters = ""
        if "SIZE" in self.extensions:
            parameters += f" SIZE={size}"
        if not recipient.isascii() and self.smtputf8:
            parameters += " SMTPUTF8"
        return parameters

    async def _pipeline(self, commands: list[tuple[Stage, str]]) -> None:
        """Send all commands at once, then read all replies, and judge by the first refusal."""
        self._write("".join(f"{command}\r\n" for _, command in commands))
        refusal: Rejected | None = None
        asked_for_body = False
        for stage, _ in commands:
            try:
                reply = await self._reply(stage)
            except Unanswered:
                # A server that says no may close without another word, as with 421.
                raise refusal or Unanswered(stage, "The server closed the connection.") from None
            asked_for_body = reply.continues
            if not self._fits(stage, reply) and refusal is None:
                refusal = Rejected(stage, reply)
        if refusal is not None:
            await self._give_up(refusal, asked_for_body=asked_for_body)

    async def _give_up(self, refusal: Rejected, *, asked_for_body: bool = False) -> NoReturn:
        """Leave no half envelope behind a refusal (RFC 5321 section 4.1.1.5), and raise it."""
        with suppress(Unanswered):
            if asked_for_body:
                # The server wants a body for nobody: a lone dot ends it, and delivers nothing.
                await self.dot()
            if refusal.stage != "mail":
                await self._command("mail", "RSET")
        raise refusal

    async def _command(self, stage: Stage, command: str) -> Reply:
        self._write(f"{command}\r\n")
        return await self._reply(stage)

    def _write(self, text: str) -> None:
        self._writer.write(text.encode())

    def _fits(self, stage: Stage, reply: Reply) -> bool:
        """Tell a go-ahead from a refusal; raises Unanswered if the server is somewhere else."""
        if reply.positive and reply.continues != (stage == "data"):
            self.abort()
            raise Unanswered(stage, "The server answers out of step.")
        return reply.positive

    @staticmethod
    def _good(stage: Stage, reply: Reply) -> Reply:
        if not reply.positive:
            raise Rejected(stage, reply)
        return reply

    async def _reply(self, stage: Stage) -> Reply:
        """Read one reply of any number of lines (RFC 5321 section 4.2.1)."""
        wait = min(self._longest_wait, _TIMEOUTS[stage])
        lines: list[str] = []
        code = ""
        while len(lines) < _LONGEST_REPLY_LINES:
            line = (await _answered(stage, self._reader.readline(), wait)).decode(
                "utf-8", "replace"
            )
            code = line[:3]
            if not line.endswith("\n") or not re.fullmatch(r"[2-5][0-9]{2}", code):
                self.abort()
                raise Unanswered(stage, "The server closed the connection or speaks no SMTP.")
            lines.append(line[4:].rstrip("\r\n"))
            if line[3:4] != "-":
                break
        enhanced = _ENHANCED.match(lines[-1])
        return Reply(int(code), enhanced[1] if enhanced else None, "\n".join(lines))


async def _answered(stage: Stage, waiting: Awaitable[T], seconds: float) -> T:
    """Wait for the server; a lost connection and a late answer are the same to the caller."""
    try:
        return await asyncio.wait_for(waiting, seconds)
    except (OSError, TimeoutError, ValueError, EOFError) as error:
        raise Unanswered(stage, f"The server did not answer: {type(error).__name__}.") from error


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
