"""A newsletter as a tutorial would send it: smtplib, an EmailMessage each, rows by SQLAlchemy.

    python -m tests.benchmarks.newsletter DATABASE_URL PORT MESSAGE NUMBER [--reconnect]

MESSAGE is a file with a release as it came over the wire, whose text and HTML are sent to the
first NUMBER subscribers. It prints the seconds it took.
"""

from __future__ import annotations

import smtplib
import sys
import time
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

from sqlalchemy import create_engine, select
from sqlalchemy.orm import Session

from mailer.storage.models import Subscriber

Content = tuple[str, str, str]


def _content(file: Path) -> Content:
    """Read subject, text and HTML of a message."""
    message = message_from_bytes(file.read_bytes(), policy=policy.default)
    text, html = message.get_body(("plain",)), message.get_body(("html",))
    assert text is not None
    assert html is not None
    return str(message["Subject"]), text.get_content(), html.get_content()


def _message(address: str, content: Content) -> EmailMessage:
    subject, text, html = content
    message = EmailMessage()
    message["From"] = "presse@example.org"
    message["To"] = address
    message["Subject"] = subject
    message["List-Unsubscribe"] = f"<https://example.org/unsubscribe?address={address}>"
    message.set_content(text)
    message.add_alternative(html, subtype="html")
    return message


def _send(url: str, port: int, content: Content, number: int, *, reconnect: bool) -> None:
    smtp = smtplib.SMTP("127.0.0.1", port)
    with Session(create_engine(url)) as session:
        for subscriber in session.scalars(select(Subscriber).limit(number)):
            if reconnect:
                smtp.quit()
                smtp = smtplib.SMTP("127.0.0.1", port)
            smtp.send_message(_message(subscriber.address, content))
    smtp.quit()


if __name__ == "__main__":
    database_url, sink_port, sample_file, how_many, *options = sys.argv[1:]
    letter = _content(Path(sample_file))
    began = time.monotonic()
    _send(database_url, int(sink_port), letter, int(how_many), reconnect="--reconnect" in options)
    print(time.monotonic() - began)
