"""Leaving as mail clients do it: by one click, and by a message to a real Postfix."""

from __future__ import annotations

import smtplib
import urllib.request
import zlib
from collections.abc import Iterator

import pytest

from mailer.domain.followers import follower_csv
from tests.journeys.mail_domain import MailDomain
from tests.journeys.people import Visitor, mailto, one_click
from tests.processes import eventually, free_port
from tests.relay import SILENCE, Relay
from tests.service import Service, application
from tests.support.publishing_system import PublishingSystem

DOMAIN = "in.example.org"
MULTIPART = (
    b'--b\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--b--\r\n'
)
BODIES = {
    "application/x-www-form-urlencoded": b"List-Unsubscribe=One-Click",
    "multipart/form-data; boundary=b": MULTIPART,
}


@pytest.fixture(scope="module")
def own_settings() -> dict[str, str]:
    """A domain for return mail, and one connection for a release."""
    return {"MAILER_MAIL_DOMAIN": DOMAIN, "MAILER_CONNECTIONS": "1"}


@pytest.fixture(scope="module")
def mail_domain(
    service: Service, relay_server: Relay, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MailDomain]:
    """All of it."""
    with MailDomain.open(service, relay_server, tmp_path_factory.mktemp("mailer")) as mail_domain:
        yield mail_domain


@pytest.fixture
def press_office(mail_domain: MailDomain, request: pytest.FixtureRequest) -> PublishingSystem:
    """The publishing system of a press room that nobody follows yet."""
    return mail_domain.open_room(slug_of(request))


@pytest.fixture
def kari(
    mail_domain: MailDomain, press_office: PublishingSystem, request: pytest.FixtureRequest
) -> Visitor:
    """Somebody who follows it."""
    kari = Visitor(mail_domain.relay, f"kari.{slug_of(request)}@example.org")
    kari.follow(f"{mail_domain.service.url}/{slug_of(request)}/")
    return kari


def slug_of(request: pytest.FixtureRequest) -> str:
    """Name a press room that no other test has."""
    return f"oya-{zlib.crc32(request.node.nodeid.encode())}"


def click(url: str, content_type: str) -> None:
    """Post what a mail client posts (RFC 8058, 3.2), and see that it is all that it takes."""
    request = urllib.request.Request(url, BODIES[content_type], {"Content-Type": content_type})
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.status == 200
        assert answer.url == url
        assert answer.headers["Set-Cookie"] is None


@pytest.mark.parametrize("content_type", BODIES)
def test_one_click_ends_it_without_a_cookie_or_another_place_to_go(
    mail_domain: MailDomain, kari: Visitor, press_office: PublishingSystem, content_type: str
) -> None:
    click(one_click(kari.letters(2)[1]), content_type)
    assert kari.letters(3)[2]["Auto-Submitted"] == "auto-generated"
    assert press_office.done(press_office.publish("brygga"))["total"] == 0


def test_a_message_to_the_mailto_ends_it_in_whatever_case_and_again_is_harmless(
    mail_domain: MailDomain, kari: Visitor, press_office: PublishingSystem
) -> None:
    for _ in range(2):
        ending = mail_domain.write(kari.address, mailto(kari.letters(2)[1]).upper())
        assert ending.status == 0
        assert "has ended, by mail" in ending.said
    assert kari.letters(3)[2]["Auto-Submitted"] == "auto-generated"
    assert press_office.done(press_office.publish("brygga"))["total"] == 0


def test_a_machine_that_answers_ends_nothing(
    mail_domain: MailDomain, kari: Visitor, press_office: PublishingSystem
) -> None:
    address = mailto(kari.letters(2)[1])
    endings = [
        mail_domain.write(kari.address, address, "Auto-Submitted: auto-replied (vacation)"),
        mail_domain.write("", address),
    ]
    assert [ending.status for ending in endings] == [0, 0]
    assert press_office.done(press_office.publish("brygga"))["accepted"] == 1


def test_a_letter_that_comes_back_to_its_sender_is_taken(
    mail_domain: MailDomain, kari: Visitor, press_office: PublishingSystem
) -> None:
    press_office.done(press_office.publish("brygga"))
    senders = [one.sender for one in mail_domain.relay.received if one.recipient == kari.address]
    assert len(set(senders)) == 2
    for sender in senders:
        assert sender.endswith(f"@{DOMAIN}")
        assert mail_domain.write("", sender).status == 0
    assert press_office.done(press_office.publish("brygga-2"))["accepted"] == 1


def test_other_mail_is_refused_before_it_is_taken(mail_domain: MailDomain) -> None:
    for other in (f"postmaster@{DOMAIN}", f"unsubscribe-abc@{DOMAIN}"):
        with smtplib.SMTP("127.0.0.1", mail_domain.postfix.port) as client:
            client.mail("kari@example.org")
            assert client.rcpt(other)[0] == 550


def test_what_nobody_here_has_made_is_said_to_be_nobodys(mail_domain: MailDomain) -> None:
    ending = mail_domain.write("", f"unsubscribe-{'a' * 32}@{DOMAIN}")
    assert (ending.status, ending.said) == (67, "No mailbox has this address.\n")
    eventually(lambda: "dsn=5.1.1" in mail_domain.postfix.log, "Postfix says so too")


@pytest.mark.parametrize("missing", ["the database", "the settings"])
def test_while_something_is_away_postfix_keeps_the_message(
    mail_domain: MailDomain, kari: Visitor, press_office: PublishingSystem, missing: str
) -> None:
    settings = mail_domain.environment.read_text()
    mail_domain.environment.unlink()
    if missing == "the database":
        away = f"DATABASE_URL=postgresql+psycopg://mailer@127.0.0.1:{free_port()}/mailer\n"
        mail_domain.environment.write_text(settings + away)
    deferrals = mail_domain.postfix.log.count("status=deferred")
    assert mail_domain.write(kari.address, mailto(kari.letters(2)[1])).status == 75
    eventually(
        lambda: mail_domain.postfix.log.count("status=deferred") > deferrals,
        "Postfix will try again",
    )
    mail_domain.environment.write_text(settings)
    mail_domain.postfix.order("flush")
    assert kari.letters(3)[2]["Auto-Submitted"] == "auto-generated"
    assert press_office.done(press_office.publish("brygga"))["total"] == 0


def test_who_leaves_is_skipped_in_a_batch_that_is_claimed_already(
    mail_domain: MailDomain, press_office: PublishingSystem, request: pytest.FixtureRequest
) -> None:
    crowd = [f"{slug_of(request)}.{number:03}@example.org" for number in range(240)]
    with application(mail_domain.service.environment):
        follower_csv.import_followers(slug_of(request), ["address", *crowd], locales=("nb",))
    press_office.done(press_office.publish("brygga"))
    letters = {one: Visitor(mail_domain.relay, one).letters(1)[0] for one in crowd[50:60]}
    mail_domain.relay.answer(crowd[0], at="rcpt", reply=SILENCE, times=1)
    silences = mail_domain.relay.silences
    answer = press_office.publish("brygga-2")
    # A batch of sixty is claimed, its first fifty have been looked up, and the relay holds one.
    eventually(lambda: mail_domain.relay.silences > silences, "the first message waits")
    for one, content_type in zip(crowd[50:], BODIES, strict=False):
        click(one_click(letters[one]), content_type)
    assert mail_domain.write(crowd[59], mailto(letters[crowd[59]])).status == 0
    mail_domain.relay.break_connections()
    receipt = press_office.done(answer)
    assert (receipt["total"], receipt["accepted"], receipt["skipped"]) == (240, 237, 3)
    assert receipt["reasons"]["skipped"] == {"left": 3}
