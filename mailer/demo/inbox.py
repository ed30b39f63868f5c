"""The inbox: an SMTP server that accepts every message, and the pages that show them.

The web site of the fictitious museum, where the links of its letters lead, is among the pages.
"""

from __future__ import annotations

import email.policy
import logging
import socket
import threading
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from flask import Flask, abort, render_template, request
from werkzeug.serving import make_server

from mailer.demo import samples


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


def serve_pages(inbox: Inbox, listener: socket.socket) -> None:
    """Serve the pages from a thread, on a socket that listens already."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    host, port = listener.getsockname()
    server = make_server(host, port, _app(inbox), threaded=True, fd=listener.fileno())
    threading.Thread(target=server.serve_forever, daemon=True).start()


def _app(inbox: Inbox) -> Flask:
    app = Flask(__name__, "/site/files", samples.FOLDER, template_folder="pages")
    # A foreign host name that resolves to loopback is how web sites read what is served there.
    app.config["TRUSTED_HOSTS"] = ["127.0.0.1", "localhost"]

    @app.get("/")
    def overview() -> str:
        recipient = request.args.get("to")
        mails = inbox.mails_to(recipient) if recipient else inbox.mails
        return render_template("inbox.html", mails=mails[::-1], recipient=recipient)

    @app.get("/mails/<int:number>")
    @app.get("/mails/<int:number>/<any(html, text, source):view>")
    def mail(number: int, view: str = "html") -> str:
        mails = inbox.mails
        [mail] = mails[number - 1 : number] or abort(404)
        return render_template("mail.html", mail=mail, view=view, last=len(mails))

    @app.get("/site/")
    @app.get("/site/<reference>")
    def site(reference: str = "") -> str:
        releases = [samples.read(file) for file in (samples.RELEASE, samples.FOLLOW_UP)]
        stories = [samples.placed(release, f"{request.host_url}site") for release in releases]
        found = [story for story in stories if reference in ("", story["reference"])]
        return render_template("site.html", stories=found or abort(404))

    return app
