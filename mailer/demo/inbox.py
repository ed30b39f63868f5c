"""The inbox: an SMTP server that takes every message for everybody, and keeps it in memory."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from dataclasses import dataclass
from datetime import datetime
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from functools import cached_property

from aiosmtpd.smtp import SMTP, Envelope, Session

_LOOPBACK = "127.0.0.1"
_BACKLOG = 256
_STOPPED_WITHIN_SECONDS = 5


@dataclass(frozen=True)
class Mail:
    """One message as it came, and as it is read."""

    number: int
    arrived_at: datetime
    recipient: str
    source: bytes

    @cached_property
    def message(self) -> EmailMessage:
        """The parsed message."""
        source = self.source.replace(b"\r\n", b"\n")
        return BytesParser(EmailMessage, policy=policy.default).parsebytes(source)

    @property
    def subject(self) -> str:
        """The subject, decoded."""
        return self.header("Subject")

    @property
    def html(self) -> str:
        """The HTML part."""
        return self._part("html")

    @property
    def text(self) -> str:
        """The plain-text part."""
        return self._part("plain")

    @property
    def language(self) -> str:
        """The first language the letter says it is in, or nothing."""
        return self.header("Content-Language").partition(",")[0].strip()

    def header(self, name: str) -> str:
        """Return a header, decoded, or nothing."""
        return str(self.message.get(name, ""))

    def _part(self, kind: str) -> str:
        part = self.message.get_body((kind,))
        return str(part.get_content()) if part is not None else ""


class Inbox:
    """Everybody's inbox; its methods may be called from any thread."""

    def __init__(self) -> None:
        self._mails: list[Mail] = []
        self._arrived = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="inbox", daemon=True)
        # Bound here, so that the port is ours before anybody is told of it.
        self._socket = socket.create_server((_LOOPBACK, 0), backlog=_BACKLOG)
        self.url = f"smtp://{_LOOPBACK}:{self._socket.getsockname()[1]}"
        logging.getLogger("mail").setLevel(logging.ERROR)

    def start(self) -> None:
        """Begin to take messages."""
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()

    def stop(self) -> None:
        """Take no more, and close every connection."""
        if self._thread.is_alive():
            ended = asyncio.run_coroutine_threadsafe(self._close(), self._loop)
            ended.result(_STOPPED_WITHIN_SECONDS)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_STOPPED_WITHIN_SECONDS)
        self._socket.close()
        if not self._loop.is_running():
            self._loop.close()

    def mails(self, recipient: str | None = None) -> list[Mail]:
        """Return what has come, oldest first."""
        with self._arrived:
            return [mail for mail in self._mails if recipient in (None, mail.recipient)]

    def wait_for(self, recipient: str, count: int, seconds: float) -> list[Mail]:
        """Wait until somebody has so many mails, and return all they have by then."""
        with self._arrived:
            self._arrived.wait_for(lambda: len(self.mails(recipient)) >= count, seconds)
            return self.mails(recipient)

    def take(self, recipients: list[str], source: bytes) -> None:
        """Keep a message for each of its recipients."""
        with self._arrived:
            for recipient in recipients:
                number = len(self._mails) + 1
                self._mails.append(Mail(number, datetime.now().astimezone(), recipient, source))
            self._arrived.notify_all()

    async def _listen(self) -> None:
        self._server = await self._loop.create_server(
            lambda: SMTP(_Hooks(self), enable_SMTPUTF8=True, hostname="inbox", loop=self._loop),
            sock=self._socket,
        )

    async def _close(self) -> None:
        self._server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Hooks:
    """What aiosmtpd asks: everybody lives here, and every message is welcome."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox

    async def handle_EHLO(
        self, _: SMTP, session: Session, _envelope: Envelope, name: str, lines: list[str]
    ) -> list[str]:
        session.host_name = name
        return [lines[0], "250-PIPELINING", "250-ENHANCEDSTATUSCODES", *lines[1:]]

    async def handle_DATA(self, _: SMTP, _session: Session, envelope: Envelope) -> str:
        self._inbox.take(list(envelope.rcpt_tos), envelope.original_content or b"")
        return "250 2.0.0 Taken"
