"""An SMTP client (RFC 5321) that hands over one message after another.

The envelope is a step of its own, because the dot of one message may only leave when the
acknowledgement of the message before it is durable. With PIPELINING (RFC 2920) the envelope of
the following message leaves together with that dot.
"""

from __future__ import annotations

import asyncio
import base64
import re
import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import NoReturn, Self

from mailer.mail.smtp_protocol import (
    Rejected,
    Reply,
    SmtpError,
    SmtpProtocol,
    Stage,
    Unanswered,
)
from mailer.relay import Relay

# RFC 5321 section 4.5.3.2, in seconds.
_TIMEOUTS: dict[Stage, float] = {
    "connect": 300,
    "auth": 300,
    "mail": 300,
    "rcpt": 300,
    "data": 120,
    "dot": 600,
}
_BLOCK_SECONDS = 180
_IMPATIENT_SECONDS = 30
_GOODBYE_SECONDS = 2
_OUR_NAME = re.sub(r"[^A-Za-z0-9.-]", "", socket.gethostname()) or "[127.0.0.1]"
_ENVELOPE: tuple[Stage, ...] = ("mail", "rcpt", "data")


class NotAscii(SmtpError):
    """The address needs SMTPUTF8 (RFC 6531), which the server does not offer; nothing was sent."""


@dataclass(slots=True, eq=False)
class Mail:
    """A mail object (RFC 5321 section 2.3.1): its envelope and its content.

    The content is dot-stuffed and ends in CRLF; the dot that ends it is left out.
    """

    sender: str
    recipient: str
    content: bytes


class SmtpConnection:
    """One connection to the relay, open for any number of messages."""

    def __init__(self, protocol: SmtpProtocol, longest_wait: float, name: str) -> None:
        self._protocol, self._name = protocol, name
        self._seconds = {stage: min(longest_wait, most) for stage, most in _TIMEOUTS.items()}
        self._block_seconds = min(longest_wait, _BLOCK_SECONDS)
        self._ahead: Mail | None = None
        self.patient = True
        """Whether replies before the dot are waited for as RFC 5321 says, and not 30 seconds."""
        self.extensions: dict[str, str] = {}

    @classmethod
    async def open(
        cls, relay: Relay, *, longest_wait: float = 600, name: str | None = None
    ) -> Self:
        """Connect, send EHLO, encrypt and authenticate; raises Rejected or Unanswered.

        `longest_wait` shortens the limits of RFC 5321, in seconds. `name` is what we call
        ourselves; without one, as the machine is called.
        """
        context = tls_context() if relay.security != "none" else None
        implicit = context if relay.security == "tls" else None
        try:
            async with asyncio.timeout(min(longest_wait, _TIMEOUTS["connect"])):
                _, protocol = await asyncio.get_running_loop().create_connection(
                    SmtpProtocol, relay.host, relay.port, ssl=implicit
                )
        except (OSError, TimeoutError) as error:
            raise _unreached(error) from error
        connection = cls(protocol, longest_wait, name or _OUR_NAME)
        try:
            await connection._greet(relay, context if relay.security == "starttls" else None)
        except BaseException:
            connection.abort()
            raise
        return connection

    @property
    def connected_at(self) -> float:
        """The monotonic time since which the connection is open."""
        return self._protocol.connected_at

    @property
    def smtputf8(self) -> bool:
        """Whether addresses beyond ASCII may be used (RFC 6531)."""
        return "SMTPUTF8" in self.extensions

    @property
    def envelope_sent_ahead(self) -> bool:
        """Whether the envelope of a message left, whose content the server now waits for."""
        return self._ahead is not None

    def sends_ahead(self, following: Mail) -> bool:
        """Tell whether the envelope of a message may leave with the dot before it (RFC 2920)."""
        ascii_is_enough = following.recipient.isascii() or self.smtputf8
        return ascii_is_enough and "PIPELINING" in self.extensions

    async def envelope(self, mail: Mail) -> None:
        """Send MAIL, RCPT and DATA, unless they left already, and wait for their replies.

        Raises Rejected and NotAscii, after which another envelope may follow, and Unanswered.
        """
        if self._ahead is not None and self._ahead is not mail:
            self.abort()
            raise Unanswered("mail", "The server waits for another message.")
        if not (mail.recipient.isascii() or self.smtputf8):
            raise NotAscii("rcpt", "The server does not offer SMTPUTF8, which this address needs.")
        if "PIPELINING" in self.extensions:
            if self._ahead is None:
                self._write(*self._commands(mail))
            self._ahead = None
            await self._read_envelope_replies()
        else:
            for stage, command in zip(_ENVELOPE, self._commands(mail), strict=True):
                reply = await self._command(stage, command)
                if not self._fits(stage, reply):
                    await self._give_up(Rejected(stage, reply))

    async def content(self, mail: Mail, following: Mail | None = None) -> Reply:
        """Send the content and its dot, and return the server's reply.

        The envelope of `following` leaves with the dot if the server's extensions allow it; then
        the next message on this connection must be `following`. Raises Unanswered.
        """
        behind: Sequence[str] = ()
        if following is not None and self.sends_ahead(following):
            behind = self._commands(following)
            self._ahead = following
        # In one write: each write costs both sides a system call and a packet.
        self._protocol.write(mail.content + _lines(".", *behind))
        await self._protocol.drained("data", self._block_seconds)
        reply = await self._protocol.reply("dot", self._seconds["dot"])
        self._fits("dot", reply)
        return reply

    async def quit(self) -> None:
        """Send QUIT and close, without waiting long for the reply."""
        with suppress(Unanswered):
            self._write("QUIT")
            await self._protocol.reply("connect", _GOODBYE_SECONDS)
        self.abort()

    def abort(self) -> None:
        """Close at once; a message without its dot is never delivered."""
        self._protocol.abort()

    async def _greet(self, relay: Relay, starttls: ssl.SSLContext | None) -> None:
        self._expect("connect", await self._reply("connect"))
        await self._hello()
        if starttls is not None:
            self._expect("connect", await self._command("connect", "STARTTLS"))
            await self._encrypt(relay.host, starttls)
            await self._hello()
        if relay.user is not None:
            await self._log_in(relay.user, relay.password or "")

    async def _encrypt(self, host: str, context: ssl.SSLContext) -> None:
        if self._protocol.has_unread:
            # An attacker may have sent what came before the encryption (RFC 3207 section 6).
            raise Unanswered("connect", "The server says more than it was asked.")
        try:
            async with asyncio.timeout(self._seconds["connect"]):
                transport = await asyncio.get_running_loop().start_tls(
                    self._protocol.transport, self._protocol, context, server_hostname=host
                )
        except (OSError, TimeoutError) as error:
            raise _unreached(error) from error
        if transport is None:
            raise Unanswered("connect", "The server closed the connection.")
        self._protocol.connection_made(transport)

    async def _hello(self) -> None:
        reply = await self._command("connect", f"EHLO {self._name}")
        if not reply.positive:
            reply = self._expect("connect", await self._command("connect", f"HELO {self._name}"))
        lines = (line.partition(" ") for line in reply.text.splitlines()[1:])
        self.extensions = {keyword.upper(): rest for keyword, _, rest in lines}

    async def _log_in(self, user: str, password: str) -> None:
        """Authenticate by PLAIN (RFC 4616) or LOGIN; raises Unanswered if neither is offered."""
        offered = self.extensions.get("AUTH", "").upper().split()
        if not {"PLAIN", "LOGIN"}.intersection(offered):
            raise Unanswered("auth", "The server does not offer AUTH.")
        if "PLAIN" not in offered:
            for command in ("AUTH LOGIN", _base64(user)):
                self._expect("auth", await self._command("auth", command))
            last = _base64(password)
        else:
            last = f"AUTH PLAIN {_base64(chr(0).join(('', user, password)))}"
        reply = self._expect("auth", await self._command("auth", last))
        self._fits("auth", reply)

    def _commands(self, mail: Mail) -> tuple[str, str, str]:
        parameters = f" SIZE={len(mail.content)}" if "SIZE" in self.extensions else ""
        if not mail.recipient.isascii():
            parameters += " SMTPUTF8"
        return f"MAIL FROM:<{mail.sender}>{parameters}", f"RCPT TO:<{mail.recipient}>", "DATA"

    async def _read_envelope_replies(self) -> None:
        """Read the replies to MAIL, RCPT and DATA; raises the first refusal, or Unanswered."""
        refusal: Rejected | None = None
        asked_for_content = False
        for stage in _ENVELOPE:
            try:
                reply = self._protocol.next_reply() or await self._reply(stage)
            except Unanswered:
                # A server that refuses may close at once without the other replies, as with 421.
                raise refusal or Unanswered(stage, "The server closed the connection.") from None
            asked_for_content = reply.continues
            if not self._fits(stage, reply) and refusal is None:
                refusal = Rejected(stage, reply)
        if refusal is not None:
            await self._give_up(refusal, asked_for_content=asked_for_content)

    async def _give_up(self, refusal: Rejected, *, asked_for_content: bool = False) -> NoReturn:
        """Discard the rest of a refused envelope (RFC 5321 section 4.1.1.5); raises `refusal`."""
        with suppress(Unanswered):
            if asked_for_content:
                # The server waits for content without a recipient: a lone dot ends it, and nothing
                # is delivered.
                await self._command("dot", ".")
            if refusal.stage != "mail":
                await self._command("mail", "RSET")
        raise refusal

    async def _command(self, stage: Stage, command: str) -> Reply:
        self._write(command)
        return await self._reply(stage)

    def _write(self, *commands: str) -> None:
        self._protocol.write(_lines(*commands))

    async def _reply(self, stage: Stage) -> Reply:
        seconds = self._seconds[stage]
        return await self._protocol.reply(
            stage, seconds if self.patient else min(seconds, _IMPATIENT_SECONDS)
        )

    def _fits(self, stage: Stage, reply: Reply) -> bool:
        """Tell whether the reply is positive; raises Unanswered if 2yz and 3yz are swapped."""
        if reply.positive and reply.continues != (stage == "data"):
            self.abort()
            raise Unanswered(stage, "The server answers out of step.")
        return reply.positive

    @staticmethod
    def _expect(stage: Stage, reply: Reply) -> Reply:
        if not reply.positive:
            raise Rejected(stage, reply)
        return reply


def _lines(*commands: str) -> bytes:
    return "\r\n".join([*commands, ""]).encode()


def _unreached(error: Exception) -> Unanswered:
    return Unanswered("connect", f"The server did not answer: {type(error).__name__}.")


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@cache
def tls_context() -> ssl.SSLContext:
    """Return what verifies certificates; the authorities of the machine are read once."""
    return ssl.create_default_context()
