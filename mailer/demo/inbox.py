"""The inbox: an SMTP server that accepts every message and keeps it in memory."""

from __future__ import annotations

import email.policy
import logging
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session


@dataclass(frozen=True)
class Mail:
    """A message as it arrived for one recipient."""

    number: int
    arrived_at: datetime
    recipient: str
    source: bytes
    message: EmailMessage

    def body(self, subtype: str) -> str:
        """Return the text of the message, as "html" or as "plain"."""
        part = self.message.get_body((subtype,))
        return str(part.get_content()) if part else ""


class Inbox(Controller):
    """The SMTP server, which runs in a thread, and the mails that it has accepted."""

    def __init__(self, hostname: str, port: int) -> None:
        super().__init__(self, hostname, port)
        logging.getLogger("mail").setLevel(logging.ERROR)
        self.mails: list[Mail] = []

    def mails_to(self, recipient: str) -> list[Mail]:
        """Return the mails of a recipient, oldest first."""
        return [mail for mail in self.mails if mail.recipient == recipient]

    async def handle_DATA(self, _: SMTP, _session: Session, envelope: Envelope) -> str:
        """Keep a mail for each recipient of the message."""
        source = envelope.original_content or b""
        message = email.message_from_bytes(source, EmailMessage, policy=email.policy.default)
        for recipient in envelope.rcpt_tos:
            number, now = len(self.mails) + 1, datetime.now().astimezone()
            self.mails.append(Mail(number, now, recipient, source, message))
        return "250 2.0.0 Taken"
