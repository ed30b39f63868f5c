"""What an operator does about one person, and about all followers of a press room."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from sqlalchemy import update

from mailer.domain import publishers
from mailer.domain.followers import subscriptions
from mailer.storage.database import transaction
from mailer.storage.models import Subscription
from mailer.storage.types import now
from tests.cli.operator import Operator
from tests.conftest import on_both_databases
from tests.service import application
from tests.support.press_room import ADA, EVIDENCE, KARI, NAME, OLA, SLUG

FILE = (
    "address,confirmed_at,locale\n"
    f"{KARI},2024-05-17T10:00:00+00:00,nb\n"
    f"{OLA},2025-01-31T11:30:00+00:00,nn\n"
)


def bring(operator: Operator, slug: str = SLUG, text: str = FILE) -> str:
    """Import a file, and give what is said of it."""
    operator.opens_a_room(slug)
    return operator.does("subscriber", "import", slug, operator.file("a.csv", text.encode())).out


@on_both_databases
def test_what_is_exported_can_be_imported_elsewhere(operator: Operator) -> None:
    bring(operator)
    exported = operator.does("subscriber", "export", SLUG)
    assert exported.out == FILE
    assert bring(operator, "fjellavisa", exported.out).startswith("2 added")
    assert operator.does("subscriber", "export", "fjellavisa").out == FILE


def test_a_press_room_without_followers_has_a_header_alone(operator: Operator) -> None:
    operator.opens_a_room()
    assert operator.does("subscriber", "export", SLUG).out == FILE.splitlines(keepends=True)[0]


def test_the_dossier_is_readable_and_json(operator: Operator) -> None:
    bring(operator)
    said = operator.does("subscriber", "show", KARI.upper())
    for word in (KARI, NAME, "2024-05-17", "imported"):
        assert word in said.out
    assert OLA not in said.out
    known = operator.does("subscriber", "show", KARI, "--json").json
    assert known["address"] == KARI
    [subscription] = known["subscriptions"]
    assert [one["step"] for one in subscription["consents"]] == ["imported"]


@on_both_databases
def test_who_is_erased_is_nobody_and_stays_away(operator: Operator) -> None:
    bring(operator)
    said = operator.does("subscriber", "erase", KARI)
    assert "kari" not in said.out + said.err
    assert KARI not in operator.does("subscriber", "export", SLUG).out
    assert operator.run("subscriber", "show", KARI).sentence == "No subscriber has this address."
    assert operator.run("subscriber", "erase", KARI).sentence == "No subscriber has this address."
    again = operator.does("subscriber", "import", SLUG, operator.file("a.csv", FILE.encode()))
    assert again.out == "0 added, 1 already followed, 1 refused.\n"
    assert "line 2: They were forgotten" in again.err


@pytest.mark.parametrize("command", ["show", "erase"])
@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        (ADA, "No subscriber has this address."),
        ("ada", "address: Enter one valid email address."),
        (f"{ADA}, {OLA}", "address: Enter one valid email address."),
    ],
)
def test_a_mistake_is_a_sentence(
    clerk: Operator, command: str, address: str, sentence: str
) -> None:
    assert clerk.run("subscriber", command, address).sentence == sentence


def test_a_press_room_that_is_not_there_has_no_followers(clerk: Operator) -> None:
    said = clerk.run("subscriber", "export", "nobody")
    assert said.sentence == "There is no press room by that name."


def test_without_the_key_nothing_is_erased_and_the_doctor_says_so(operator: Operator) -> None:
    bring(operator)
    said = operator.run("subscriber", "erase", KARI, MAILER_ERASURE_KEY="")
    assert said.sentence.startswith("MAILER_ERASURE_KEY: ")
    assert json.loads(operator.does("subscriber", "show", KARI, "--json").out)
    assert "until MAILER_ERASURE_KEY is set" in operator.run("doctor", MAILER_ERASURE_KEY="").out
    weak = operator.run("subscriber", "erase", KARI, MAILER_ERASURE_KEY="short")
    assert weak.sentence.startswith("MAILER_ERASURE_KEY: ")


@on_both_databases
def test_the_sweep_forgets_who_never_confirmed(operator: Operator) -> None:
    operator.opens_a_room()
    with application(operator.environment) as app:
        for address, age in ((KARI, timedelta(days=31)), (OLA, timedelta(days=29))):
            settings = app.extensions["settings"]
            subscriptions.sign_up(settings, publishers.find(SLUG), address, EVIDENCE)
            with transaction() as session:
                old = update(Subscription).where(Subscription.requested_at > now() - timedelta(1))
                session.execute(old.values(requested_at=now() - age))
    operator.does("sweep", "--once")
    assert operator.run("subscriber", "show", KARI).status == 1
    assert operator.does("subscriber", "show", OLA).out
