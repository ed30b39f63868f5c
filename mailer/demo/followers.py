"""The followers: each signs up, reads the mail that comes, and leaves."""

from __future__ import annotations

from dataclasses import dataclass, field

from mailer.demo import letter_checks
from mailer.demo.console_output import StepFailed
from mailer.demo.http_client import request, submit
from mailer.demo.inbox import Mail
from mailer.demo.samples import Release
from mailer.demo.services import Services


@dataclass
class Follower:
    """A person with an address and a language; every step returns where the new mail is shown."""

    services: Services
    name: str
    address: str
    locale: str
    language: str
    read: list[Mail] = field(default_factory=list)
    link: str = ""

    def sign_up(self, room_url: str) -> str:
        """Send the form of the press room, and get the mail that asks to confirm."""
        submit(f"{room_url}?locale={self.locale}", address=self.address)
        return self._read_next("confirm")

    def press_button(self) -> str:
        """Open the page that the last mail links to, and press its button."""
        submit(self.link)
        return self._read_next()

    def click_once(self) -> str:
        """Unsubscribe by the headers of the last mail, as mail programs do."""
        request(*letter_checks.one_click(self.read[-1]))
        return self._read_next()

    def receive(self, release: Release) -> str:
        """Get a release, and see that the letter is complete."""
        link = self._read_next()
        letter_checks.check_parts(self.read[-1], release)
        return link

    def _read_next(self, page: str = "unsubscribe") -> str:
        """Wait for the next mail, which must be the only one and link to that page."""
        mails = self.services.wait_for(self.unread, f"mail to {self.name}")
        languages = mails[0].message["Content-Language"]
        if len(mails) > 1 or self.locale not in languages.split(", "):
            raise StepFailed(f"{len(mails)} mails came instead of one, in {languages}.")
        self.link = letter_checks.find_link(mails[0], f"{self.services.web_url}/{page}/")
        self.read += mails
        return f"{self.services.pages_url}/mails/{mails[0].number}"

    def unread(self) -> list[Mail]:
        """Return the mails that are still to be read."""
        return self.services.inbox.mails_to(self.address)[len(self.read) :]
