"""A recording SMTP server that answers as a test tells it to.

    relay.answer("ada@example.org", at="rcpt", reply="550 5.1.1 No such user")
    relay.answer(at="dot", reply=DROP, times=1)
    [letter] = relay.wait_for(to="bob@example.org")

Stages are `connect` (instead of the banner), `mail`, `rcpt`, `data` (instead of 354), `dot`
(instead of taking the message) and `taken` (the message is recorded, then this is said instead of
250: with DROP or SILENCE, an unanswered dot).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from typing import Any, Literal, Self

from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.processes import PATIENCE_SECONDS, free_port

Stage = Literal["connect", "mail", "rcpt", "data", "dot", "taken"]

DROP = "(the connection is dropped)"
SILENCE = "(nothing is said, the connection stays open)"
_OK = "250 2.0.0 OK"
_NOBODY = "(refused)"


@dataclass(frozen=True)
class Received:
    """One accepted message, exactly as it came, with its envelope."""

    sender: str
    recipient: str
    content: bytes
    at: float

    @property
    def message(self) -> EmailMessage:
        """The message, parsed, with the line ends of Python; `content` has those of the wire."""
        content = self.content.replace(b"\r\n", b"\n")
        return BytesParser(EmailMessage, policy=policy.default).parsebytes(content)


@dataclass
class _Answer:
    """One line of the script: what to say, to whom, and how many times more."""

    to: str | None
    at: Stage
    reply: str
    times: int | None

    def fits(self, stage: Stage, recipient: str | None) -> bool:
        return self.at == stage and self.to in (None, recipient) and self.times != 0


class Relay:
    """The server; its methods may be called from any thread.

    `options` go to aiosmtpd's SMTP (`tls_context`, `require_starttls`, `authenticator`, …).
    """

    def __init__(self, *, pipelining: bool = True, **options: Any) -> None:
        self.port = free_port()
        self.received: list[Received] = []
        self.connections = 0
        self.silences = 0
        self.pipelining = pipelining
        self.options = options
        # Whether DATA is answered with 354 although the recipient was refused, as some servers do.
        self.always_354 = False
        self._script: list[_Answer] = []
        self._changed = threading.Condition()
        self._sessions: set[_Session] = set()
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Where to send, as `SMTP_URL` wants it."""
        return f"smtp://127.0.0.1:{self.port}"

    @classmethod
    @contextmanager
    def running(cls, **options: Any) -> Iterator[Self]:
        """Start a server, and stop it at the end."""
        relay = cls(**options)
        relay.start()
        try:
            yield relay
        finally:
            relay.stop()

    def answer(
        self, to: str | None = None, *, at: Stage, reply: str, times: int | None = None
    ) -> None:
        """Answer so from now on, or a number of times; without `to`, whoever the recipient is.

        The newest fitting answer wins. The recipient is known from `rcpt` on.
        """
        assert to is None or at not in ("connect", "mail"), f"no recipient is known at {at}"
        with self._changed:
            self._script.insert(0, _Answer(to, at, reply, times))

    def reset(self) -> None:
        """Forget the script and all received messages, and be running and ordinary again."""
        with self._changed:
            self._script.clear()
            self.received.clear()
            self.connections = self.silences = 0
            self.always_354 = False
        self.start()

    def wait_for(
        self, count: int = 1, *, to: str | None = None, timeout: float = PATIENCE_SECONDS
    ) -> list[EmailMessage]:
        """Wait until so many messages have come (to that recipient), and give them all, parsed."""

        def fitting() -> list[Received]:
            return [one for one in self.received if to in (None, one.recipient)]

        with self._changed:
            enough = self._changed.wait_for(lambda: len(fitting()) >= count, timeout)
            assert enough, f"{len(fitting())} of {count} messages came to {to or 'anybody'}"
            return [one.message for one in fitting()]

    def start(self) -> None:
        """Listen on the relay's port, always the same, unless it does so already."""
        if self._thread is not None:
            return
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="relay", daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(PATIENCE_SECONDS)

    def stop(self) -> None:
        """Break every connection and stop listening, as a relay that dies."""
        if self._thread is None:
            return
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(PATIENCE_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._thread = None
        self._loop.close()

    def break_connections(self) -> None:
        """Break every connection that is open now, and go on listening."""
        for session in list(self._sessions):
            self._loop.call_soon_threadsafe(session.abort)

    async def _listen(self) -> None:
        self._server = await self._loop.create_server(
            lambda: _Session(self), "127.0.0.1", self.port, backlog=1024
        )

    async def _close(self) -> None:
        self._server.close()
        while self._sessions:
            for session in list(self._sessions):
                session.abort()
            await asyncio.sleep(0)
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def scripted(self, stage: Stage, recipient: str | None = None) -> str | None:
        """Take the answer the script has for this moment, if any."""
        with self._changed:
            for answer in self._script:
                if answer.fits(stage, recipient):
                    answer.times = None if answer.times is None else answer.times - 1
                    return answer.reply
        return None

    def take(self, sender: str, recipients: list[str], content: bytes) -> None:
        """Record one accepted message, and wake whoever waits for it."""
        with self._changed:
            self.received.extend(
                Received(sender, recipient, content, self._loop.time()) for recipient in recipients
            )
            self._changed.notify_all()


class _Session(SMTP):
    """One connection, which asks the script before it says anything."""

    def __init__(self, relay: Relay) -> None:
        options = {"enable_SMTPUTF8": True, "hostname": "relay.example.org", **relay.options}
        super().__init__(_Hooks(relay), loop=relay._loop, **options)
        self._relay = relay
        self._greeted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._relay._sessions.add(self)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._relay._sessions.discard(self)
        super().connection_lost(error)

    def abort(self) -> None:
        if isinstance(self.transport, asyncio.WriteTransport):
            self.transport.abort()

    async def push(self, status: str | bytes) -> None:
        if not self._greeted:
            self._greeted = True
            self._relay.connections += 1
            status = self._relay.scripted("connect") or status
        reply = status if isinstance(status, bytes) else status.encode()
        if reply not in (DROP.encode(), SILENCE.encode()):
            await super().push(reply)
        if reply == DROP.encode():
            self.abort()
        elif reply.startswith(b"421") and self.transport is not None:
            self.transport.close()
        elif reply != SILENCE.encode():
            return
        # Nothing more is said here; the loss of the connection cancels this.
        self._relay.silences += 1
        await asyncio.Event().wait()

    async def smtp_DATA(self, arg: str | None) -> None:
        recipients = self.envelope.rcpt_tos if self.envelope else []
        reply = self._relay.scripted("data", recipients[0]) if recipients else None
        await (self.push(reply) if reply else super().smtp_DATA(arg))


class _Hooks:
    """What aiosmtpd asks at each command; the script decides, and by default all is well."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    async def handle_EHLO(
        self, _: SMTP, session: Session, _envelope: Envelope, name: str, lines: list[str]
    ) -> list[str]:
        session.host_name = name
        extra = ["250-PIPELINING"] if self._relay.pipelining else []
        return [lines[0], *extra, "250-ENHANCEDSTATUSCODES", *lines[1:]]

    async def handle_MAIL(
        self, _: SMTP, _session: Session, envelope: Envelope, sender: str, options: list[str]
    ) -> str:
        reply = self._relay.scripted("mail")
        if reply is None:
            envelope.mail_from = sender
            envelope.mail_options.extend(options)
        return reply or _OK

    async def handle_RCPT(
        self, _: SMTP, _session: Session, envelope: Envelope, recipient: str, _options: list[str]
    ) -> str:
        reply = self._relay.scripted("rcpt", recipient)
        if reply is None or self._relay.always_354:
            envelope.rcpt_tos.append(recipient if reply is None else _NOBODY)
        return reply or _OK

    async def handle_DATA(self, _: SMTP, _session: Session, envelope: Envelope) -> str:
        recipients = [one for one in envelope.rcpt_tos if one != _NOBODY]
        if not recipients:
            return "554 5.5.1 No valid recipients"
        reply = self._relay.scripted("dot", recipients[0])
        if reply is None:
            self._relay.take(envelope.mail_from or "", recipients, envelope.original_content or b"")
            reply = self._relay.scripted("taken", recipients[0])
        return reply or _OK
