"""The story: what a press room and its followers do, seen from outside, over HTTP and SMTP."""

from __future__ import annotations

import json
import time
from typing import Any

from mailer.demo import samples
from mailer.demo.browser import Answer, Browser, Form, Reading, one_line
from mailer.demo.inbox import Mail
from mailer.demo.office import Office
from mailer.demo.parts import Parts
from mailer.demo.people import Follower, cast
from mailer.demo.telling import StepFailed, Telling

_KINDS = ("accepted", "refused", "skipped", "deferred", "waiting")


class Story:
    """Plays every step in order, and raises StepFailed at the first that was not seen to work."""

    def __init__(self, parts: Parts, telling: Telling) -> None:
        self._parts = parts
        self._telling = telling
        self.room_url = f"{parts.web_url}/{samples.SLUG}/"
        self.office = Office(parts)

    def play(self, release: samples.Release) -> None:
        """Play everything, from an empty machine to a follower who is left in peace."""
        kari, aase, emma, ola = cast()
        self._telling.chapter("A press room opens, and people follow it")
        self.office.open_room()
        self._telling.step(f"{samples.NAME} has a press room.", self.room_url)
        self._sign_up(kari)
        self._sign_up(aase)
        self.office.bring_along([emma, ola])
        self._telling.step("Emma and Ola are brought along from a file.")

        self._telling.chapter("A press release goes out")
        self._publish(release, [kari, aase, emma, ola])

        self._telling.chapter("Two have had enough, and the others read on")
        self._leave_by_page(kari)
        self._leave_by_one_click(emma)
        self._publish(samples.follow_up(), [aase, ola])
        for gone in (kari, emma):
            if len(self._parts.inbox.mails(gone.address)) != gone.opened:
                raise StepFailed(f"{gone.name} left, and got mail all the same.")
        self._telling.step("Kari and Emma, who have left, get nothing.")

    def _sign_up(self, person: Follower) -> None:
        """Follow by the form on the page, the link in the mail, and the button behind it."""
        browser = Browser()
        page = browser.get(f"{self.room_url}?locale={person.locale}").expect(200, "The press room")
        asked = browser.submit(page, _form(page, "address"), address=person.address)
        asked.expect(202, "The sign-up")
        letter = person.next_letter(self._parts.inbox, "The confirmation letter")
        self._told(f"{person.name} signs up, and is asked by mail to confirm.", letter)
        page = _ask(browser, person.find_link(letter, "/confirm/"))
        browser.submit(page, _form(page)).expect(200, "The confirmation")
        letter = person.next_letter(self._parts.inbox, "The welcome letter")
        self._told(f"{person.name} follows the link, presses the button and is welcomed.", letter)

    def _publish(self, raw: samples.Release, followers: list[Follower]) -> None:
        """Publish, twice for good measure; see it arrive with everyone, and be accounted for."""
        release = samples.news(raw, self._parts.page.site_url)
        began = time.monotonic()
        answer = self.office.publish(release)
        again = self.office.publish(release)
        if again.json("id") != answer.json("id"):
            raise StepFailed("The same call again made another release of it.")
        status = self.office.link(answer, "self")
        self._telling.step(f"“{release['title']}” is published, safely twice.", status)
        for person in followers:
            letter = person.next_letter(self._parts.inbox, "The press release")
            _carries(letter, release)
            self._told(f"{person.name} has it, in {_LANGUAGES[person.locale]}.", letter)
        self.office.await_done(status)
        seconds = time.monotonic() - began
        receipt_url = self.office.link(answer, "receipt")
        receipt = self.office.ask(receipt_url).json()
        _balances(receipt, len(followers))
        account = ", ".join(f"{receipt[kind]} {kind}" for kind in _KINDS if receipt[kind])
        self._telling.step(
            f"Done in {seconds:.1f} s; the receipt balances: {receipt['total']} = {account}.",
            receipt_url,
        )
        self._read(release)

    def _read(self, release: samples.Release) -> None:
        """Follow the links of our own sample: the page, the picture, the document."""
        ours = self._parts.page.url
        links = [release.get("web_url"), (release.get("image") or {}).get("url")]
        links += [document["url"] for document in release.get("documents", ())]
        followed = [link for link in links if link and link.startswith(ours)]
        for link in followed:
            Browser().get(link).expect(200, "A link of the press release")
        if followed:
            self._telling.step("Its links lead where they should.", followed[0])

    def _leave_by_page(self, person: Follower) -> None:
        """Leave by the link at the foot of the last letter, and the button behind it."""
        browser = Browser()
        last = self._parts.inbox.mails(person.address)[-1]
        page = _ask(browser, person.find_link(last, "/unsubscribe/"))
        browser.submit(page, _form(page)).expect(200, "The unsubscription")
        self._goodbye(person, "follows the link in the letter, presses the button")

    def _leave_by_one_click(self, person: Follower) -> None:
        """Leave as a mail client does, by the headers alone (RFC 8058)."""
        last = self._parts.inbox.mails(person.address)[-1]
        name, _, value = last.header("List-Unsubscribe-Post").partition("=")
        if (name, value) != ("List-Unsubscribe", "One-Click"):
            raise StepFailed(f"“{last.subject}” to {person.name} offers no one-click unsubscribe.")
        links = last.header("List-Unsubscribe").split(",")
        link = next((one.strip(" <>") for one in links if "http" in one), "")
        Browser().post(link, {name: value}).expect(200, "The one-click unsubscription")
        self._goodbye(person, "clicks once in the mail client")

    def _goodbye(self, person: Follower, how: str) -> None:
        letter = person.next_letter(self._parts.inbox, "The goodbye letter")
        person.find_link(letter, "/unsubscribe/")
        self._told(f"{person.name} {how}, and is let go with a goodbye.", letter)

    def _told(self, sentence: str, letter: Mail) -> None:
        self._telling.step(sentence, self._parts.page.link(letter))


_LANGUAGES = {"nb": "Norwegian bokmål", "nn": "Norwegian nynorsk", "en": "English"}


def _ask(browser: Browser, link: str) -> Answer:
    """Open a page that asks; opened twice, as scanners do, it must still only ask."""
    browser.get(link).expect(200, "The link in the mail")
    again = browser.get(link).expect(200, "The link in the mail, again")
    _form(again)
    return again


def _form(page: Answer, field: str | None = None) -> Form:
    """Return the page's form, the one with a certain field; raises StepFailed."""
    for form in page.reading.forms:
        if form.method == "post" and (field is None or field in form.fields):
            return form
    raise StepFailed(f"There is no button to press at {page.url}.")


def _carries(letter: Mail, release: samples.Release) -> None:
    """Raise StepFailed unless a letter carries what the release says."""
    reading = Reading(letter.html)
    body = Reading(release["body_html"]).text
    image, source = release.get("image") or {}, release.get("source") or {}
    said: list[Any] = [release["title"], release.get("lead"), body, source.get("text")]
    said += [image.get("caption"), image.get("credit"), *release.get("keywords", ())]
    said += [contact["name"] for contact in release.get("contacts", ())]
    said += [document["title"] for document in release.get("documents", ())]
    missing = [part for part in said if part and one_line(part) not in reading.text]
    linked = [document["url"] for document in release.get("documents", ())]
    linked += [link for link in (source.get("url"), release.get("web_url")) if link]
    missing += [link for link in linked if link not in reading.links]
    if image and image["url"] not in reading.pictures:
        missing.append(image["url"])
    if one_line(letter.subject) != one_line(release["title"]):
        missing.append("the headline as its subject")
    if one_line(release["title"]) not in one_line(letter.text):
        missing.append("the headline in plain text")
    if missing:
        raise StepFailed(f"The letter to {letter.recipient} lacks: {'; '.join(missing)}")


def _balances(receipt: dict[str, int], followers: int) -> None:
    total, kinds = receipt["total"], [receipt[kind] for kind in _KINDS]
    if total != sum(kinds) or total != followers or receipt["accepted"] != followers:
        raise StepFailed(f"For {followers} followers, the receipt says: {json.dumps(receipt)}")
