"""What a mail server hears from `mailer inbound`, and what has happened by then."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from mailer.domain.verp import Purpose, ReturnPaths
from mailer.storage.database import read_transaction
from mailer.storage.models import Subscription
from tests.cli.operator import Operator, Said
from tests.conftest import on_both_databases
from tests.processes import free_port
from tests.support.press_room import KARI, PressRoom, open_press_room
from tests.support.signed_links import nonce_of

DOMAIN = "in.example.org"
LETTER = b"From: kari@example.org\r\nSubject: unsubscribe\r\n\r\n\xff\0\r\n"
BEFORE = ["requested", "confirmed"]


@dataclass(frozen=True)
class Postmaster:
    """Somebody whose mail server hands what arrives to the service of one press room."""

    room: PressRoom
    operator: Operator

    def address(self, purpose: Purpose, subscription_id: int) -> str:
        """Give the address that a letter carries."""
        return ReturnPaths(self.room.settings).address(
            purpose, subscription_id, nonce=nonce_of(subscription_id)
        )

    def receive(self, message: bytes, *arguments: str, **variables: str) -> Said:
        """Hand over a message; nothing that is said names an address, or breaks."""
        said = self.operator.feed(message, "inbound", *arguments, **variables)
        assert said.out == ""
        assert "@" not in said.err
        assert "Traceback" not in said.err
        return said


@pytest.fixture
def postmaster(operator: Operator) -> Iterator[Postmaster]:
    """A postmaster, on both kinds of database."""
    environment = {**operator.environment, "MAILER_MAIL_DOMAIN": DOMAIN}
    url = environment["DATABASE_URL"]
    with open_press_room(url, **environment) as room, room.app.app_context():
        yield Postmaster(room, Operator(environment, operator.folder))


@on_both_databases
def test_a_message_to_leave_by_ends_the_subscription_once(postmaster: Postmaster) -> None:
    one = postmaster.room.confirmed(KARI)
    for _ in range(2):
        recipient = postmaster.address("unsubscribe", one).upper()
        said = postmaster.receive(LETTER, "--recipient", recipient)
        assert said.status == 0
        assert f"Subscription {one} has ended, by mail." in said.err
    assert postmaster.room.steps(one) == [*BEFORE, "unsubscribed"]
    assert postmaster.room.letters() == ["confirm", "welcome", "goodbye"]
    with read_transaction() as session:
        assert session.get_one(Subscription, one).ended_reason == "unsubscribed: mailto"


@pytest.mark.parametrize("name", ["Delivered-To", "X-Original-To", "To"])
def test_without_an_envelope_the_header_says_whom_it_is_for(
    postmaster: Postmaster, name: str
) -> None:
    one = postmaster.room.confirmed(KARI)
    field = f"{name}: <{postmaster.address('unsubscribe', one)}>\r\n"
    assert postmaster.receive(field.encode() + LETTER).status == 0
    assert postmaster.room.open_subscriptions(KARI) == []


def test_the_envelope_counts_more_than_the_header(postmaster: Postmaster) -> None:
    one = postmaster.room.confirmed(KARI)
    field = f"To: <{postmaster.address('unsubscribe', one)}>\r\n"
    said = postmaster.receive(field.encode() + LETTER, "--recipient", f"postmaster@{DOMAIN}")
    assert said.status == os.EX_NOUSER
    assert postmaster.room.open_subscriptions(KARI) == [one]


@pytest.mark.parametrize("field", [b"Auto-Submitted: auto-replied", b"Return-Path: <>"])
def test_an_answering_machine_ends_nothing(postmaster: Postmaster, field: bytes) -> None:
    one = postmaster.room.confirmed(KARI)
    recipient = postmaster.address("unsubscribe", one)
    said = postmaster.receive(field + b"\r\n" + LETTER, "--recipient", recipient)
    assert said.status == 0
    assert "nothing follows" in said.err
    assert postmaster.room.steps(one) == BEFORE


def test_a_letter_that_comes_back_is_taken_and_ends_nothing(postmaster: Postmaster) -> None:
    one = postmaster.room.confirmed(KARI)
    said = postmaster.receive(LETTER, "--recipient", postmaster.address("bounce", one))
    assert said.status == 0
    assert f"subscription {one} came back" in said.err
    assert postmaster.room.steps(one) == BEFORE


def test_what_was_not_made_here_has_no_mailbox(postmaster: Postmaster) -> None:
    one = postmaster.room.confirmed(KARI)
    own = postmaster.address("unsubscribe", one)
    nobodys = postmaster.address("unsubscribe", one + 1)
    for recipient in (
        nobodys,
        own.replace("unsubscribe-a", "unsubscribe-b"),
        "",
        "kari",
        f"@{own}",
    ):
        said = postmaster.receive(LETTER, "--recipient", recipient)
        assert (said.status, said.err) == (os.EX_NOUSER, "No mailbox has this address.\n")
    assert postmaster.receive(LETTER).status == os.EX_NOUSER
    assert postmaster.room.steps(one) == BEFORE


@pytest.mark.parametrize("message", [b"", b"\0\xff" * 1_000, b"no header\r\n", b"a" * 1_000_000])
def test_what_is_no_message_is_refused(postmaster: Postmaster, message: bytes) -> None:
    one = postmaster.room.confirmed(KARI)
    said = postmaster.receive(message, "--recipient", postmaster.address("unsubscribe", one))
    assert said.status == os.EX_DATAERR
    assert said.err.count("\n") == 1
    assert postmaster.room.steps(one) == BEFORE


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://mailer@127.0.0.1:{port}/mailer",
        "sqlite:////nowhere/mailer.db",
        "sqlite:///{folder}/empty.sqlite3",
    ],
)
def test_while_the_database_is_away_the_mail_server_keeps_the_message(
    postmaster: Postmaster, url: str
) -> None:
    recipient = postmaster.address("unsubscribe", postmaster.room.confirmed(KARI))
    away = url.format(port=free_port(), folder=postmaster.operator.folder)
    said = postmaster.receive(LETTER, "--recipient", recipient, DATABASE_URL=away)
    assert said.status == os.EX_TEMPFAIL
    assert said.err.startswith("The database does not answer")


def test_a_setting_that_is_missing_is_named_and_the_message_kept(postmaster: Postmaster) -> None:
    recipient = postmaster.address("unsubscribe", postmaster.room.confirmed(KARI))
    for name in ("MAILER_MAIL_DOMAIN", "BASE_URL"):
        said = postmaster.receive(LETTER, "--recipient", recipient, **{name: ""})
        assert said.status == os.EX_TEMPFAIL
        assert said.err == f"{name}: is not set.\n"
