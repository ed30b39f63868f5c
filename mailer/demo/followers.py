"""The followers: each signs up, reads and checks the mail that comes, and leaves."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from mailer.demo import samples
from mailer.demo.console_output import StepFailed
from mailer.demo.http_client import Html, request, submit
from mailer.demo.inbox import Mail
from mailer.demo.services import Services


@dataclass
class Follower:
    """A person with an address and a language; each step returns where the new mail is shown."""

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
        """Unsubscribe by the headers of the last mail, as mail programs do (RFC 8058)."""
        names = ("List-Unsubscribe", "List-Unsubscribe-Post")
        headers = {name: self.read[-1].message[name] for name in names}
        link, data = (str(value) for value in headers.values())
        if not link.startswith("<http") or data != "List-Unsubscribe=One-Click":
            raise StepFailed(f"The last mail to {self.name} has the headers {headers}.")
        request(link.strip("<>"), data.encode())
        return self._read_next()

    def receive(self, release: samples.Release) -> str:
        """Get a release, and see every part of it in HTML and in plain text."""
        link = self._read_next()
        mail, body, parts = self.read[-1], Html(release["body_html"]), samples.texts(release)
        html, plain = Html(mail.body("html")), _squeezed(mail.body("plain"))
        links = [part for part in parts + body.links if part.startswith("http")]
        words = [part for part in [*parts, body.text] if not part.startswith("http")]
        missing = list(Counter(links) - Counter(html.links))
        missing += [part for part in words if _squeezed(part) not in _squeezed(html.text)]
        missing += [f"{part} (as plain text)" for part in parts if _squeezed(part) not in plain]
        if mail.message["Subject"] != release["title"]:
            missing.append("the headline as its subject")
        if missing:
            raise StepFailed(f"The letter to {self.address} lacks: {'; '.join(missing)}")
        return link

    def unread(self) -> list[Mail]:
        """Return the mails that are still to be read."""
        return self.services.inbox.mails_to(self.address)[len(self.read) :]

    def _read_next(self, page: str = "unsubscribe") -> str:
        """Wait for the next mail, which must be the only one and link to that page."""
        mails = self.services.wait_for(self.unread, f"mail to {self.name}")
        languages = mails[0].message["Content-Language"]
        if len(mails) > 1 or self.locale not in languages.split(", "):
            raise StepFailed(f"{len(mails)} mails came instead of one, in {languages}.")
        self.read += mails
        url = f"{self.services.web_url}/{page}/"
        links, plain = Html(mails[0].body("html")).links, mails[0].body("plain")
        self.link = next((one for one in links if one.startswith(url) and one in plain), "")
        if not self.link:
            raise StepFailed(f"The mail lacks a link to {url} in HTML or in plain text.")
        return f"{self.services.pages_url}/mails/{mails[0].number}"


def _squeezed(text: str) -> str:
    """Return a text without white space, for lines break where they will."""
    return "".join(text.casefold().split())
