"""A mail domain: the whole service, its followers' mail server, and its Postfix."""

from __future__ import annotations

import re
import shlex
import smtplib
import sys
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from mailer.domain import publishers
from tests.mail_server import MailServer
from tests.pipe import Ending, Pipe
from tests.processes import eventually
from tests.relay import Relay
from tests.service import ROOT, Service, application, complete
from tests.support.publishing_system import PublishingSystem


@dataclass(frozen=True)
class MailDomain:
    """The whole service, the mail server of its followers, and a Postfix that gets its mail."""

    service: Service
    relay: Relay
    postfix: MailServer
    pipe: Pipe
    environment: Path
    """The file that `mailer inbound` is given its settings by."""

    @classmethod
    @contextmanager
    def open(cls, service: Service, relay: Relay, folder: Path) -> Iterator[Self]:
        """Set Postfix up as docs/mail-domain.md says, to the letter but for places."""
        environment, program = folder / "environment", folder / "mailer-inbound"
        variables = complete(service.environment)
        lines = (f"{name}={shlex.quote(value)}\n" for name, value in variables.items())
        environment.write_text("".join(lines))
        mailer = str(Path(sys.executable).parent / "mailer")
        places = {
            "/etc/mailer/environment": str(environment),
            "/srv/mailer/bin/mailer": mailer,
        }
        program.write_text(_documented("/usr/local/bin/mailer-inbound", places))
        with Pipe.running(["sh", str(program)]) as pipe:
            known = pipe.script.with_name("mailboxes")
            known.write_text(_documented("/etc/postfix/mailer-mailboxes", {}))
            own = {"/usr/local/bin/mailer-inbound": str(pipe.script)}
            own |= {"user=mailer": "user=nobody", " 4 pipe": " 1 pipe"}
            main = _documented(
                "/etc/postfix/main.cf", {"/etc/postfix/mailer-mailboxes": str(known)}
            )
            with MailServer.running(main, _documented("/etc/postfix/master.cf", own)) as postfix:
                yield cls(service, relay, postfix, pipe, environment)

    def open_room(self, slug: str) -> PublishingSystem:
        """Open a press room."""
        with application(self.service.environment):
            draft = publishers.PublisherDraft(slug, "Øya kommune", "presse@example.org", "nb")
            return PublishingSystem(self.service.url, publishers.add(draft))

    def write(self, sender: str, recipient: str, *fields: str) -> Ending:
        """Send a message to Postfix, and wait until it has been handled."""
        before = len(self.pipe.ended_for(recipient))
        text = "\r\n".join([*fields, f"From: {sender}", "Subject: unsubscribe", "", "Hei", ""])
        with smtplib.SMTP("127.0.0.1", self.postfix.port) as client:
            client.sendmail(sender, [recipient], text.encode())
        return eventually(lambda: self.pipe.ended_for(recipient)[before:], "it is handled")[0]


def _documented(file: str, changes: Mapping[str, str]) -> str:
    """Give what docs/mail-domain.md puts into a file, with places of its own changed."""
    page = (ROOT / "docs" / "mail-domain.md").read_text()
    found = re.search(
        rf"`{re.escape(file)}`[^\n]*\n(?:[^\n]+\n)*\n((?:    .*\n|\n(?=    ))+)", page
    )
    assert found, file
    text = textwrap.dedent(found[1])
    for place, other in changes.items():
        assert place in text
        text = text.replace(place, other)
    return text
