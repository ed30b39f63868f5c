"""The followers: who they are, and how each reads the letters that come."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from mailer.demo.browser import Reading
from mailer.demo.inbox import Inbox, Mail
from mailer.demo.telling import StepFailed

_PATIENCE_SECONDS = 60


@dataclass
class Follower:
    """Somebody with a name, an address and a language, who opens each mail once."""

    name: str
    address: str
    locale: str
    opened: int = 0

    def next_letter(self, inbox: Inbox, what: str) -> Mail:
        """Wait for the next mail and open it; raises StepFailed if none comes, or two do."""
        mails = inbox.wait_for(self.address, self.opened + 1, _PATIENCE_SECONDS)
        unread = mails[self.opened :]
        if len(unread) != 1:
            came = ", ".join(f"“{mail.subject}”" for mail in unread) or "nothing"
            raise StepFailed(
                f"{what} should have come to {self.name} once; within "
                f"{_PATIENCE_SECONDS} s there came {came}."
            )
        self.opened += 1
        languages = unread[0].header("Content-Language").split(", ")
        if self.locale not in languages:
            raise StepFailed(f"{what} to {self.name} is in {languages}, not in {self.locale}.")
        return unread[0]

    def find_link(self, mail: Mail, path: str) -> str:
        """Return the link in a mail whose path begins so; it must be in both parts."""
        for link in Reading(mail.html).links:
            if urlsplit(link).path.startswith(path):
                if link not in mail.text:
                    raise StepFailed(f"The plain text of “{mail.subject}” lacks the link {link}.")
                return link
        raise StepFailed(f"There is no {path} link in “{mail.subject}” to {self.name}.")


def cast() -> tuple[Follower, Follower, Follower, Follower]:
    """Return the four who follow: two sign up on the page, two are brought along in a file."""
    return (
        Follower("Kari", "kari.nordmann@example.org", "nb"),
        Follower("Åse", "åse.bjørnstad@example.org", "nn"),
        Follower("Emma", "emma@example.org", "en"),
        Follower("Ola", "ola@example.org", "nb"),
    )
