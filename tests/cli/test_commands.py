"""What an operator does by hand: press rooms, followers, releases."""

from __future__ import annotations

import pytest

from tests.cli.operator import Operator
from tests.conftest import on_both_databases
from tests.support.press_room import ADA, KARI, OLA, SLUG


def number(said: str) -> str:
    """Give the number of the release from the sentence that names it."""
    words = said.split()
    return words[words.index("Release") + 1]


def test_a_press_room_is_opened_and_its_key_shown_once(operator: Operator) -> None:
    said = operator.does(
        "publisher", "add", SLUG, "--name", "Fjordavisa", "--from", "presse@example.org"
    )
    key = said.out.splitlines()[-1]
    assert key.startswith("mailer_")
    assert operator.opens_a_room("fjellavisa") != key


def test_a_second_key_is_another(operator: Operator) -> None:
    first = operator.opens_a_room()
    said = operator.does("publisher", "key", SLUG, "--json")
    assert said.json["slug"] == SLUG
    assert said.json["api_key"] != first


def test_an_import_tells_what_became_of_each_line(operator: Operator) -> None:
    operator.opens_a_room()
    lines = f"address,confirmed_at,locale\n{KARI},,nb\nwrong,,\n{OLA},,\n{OLA},,\n"
    said = operator.does("subscriber", "import", SLUG, operator.file("a.csv", lines.encode()))
    assert said.out == "2 added, 1 already followed, 1 refused.\n"
    assert "line 3: Enter one valid email address." in said.err


@on_both_databases
def test_the_same_import_again_adds_nobody(operator: Operator) -> None:
    operator.opens_a_room()
    file = operator.file("a.csv", f"address\n{KARI}\n".encode())
    operator.does("subscriber", "import", SLUG, file)
    said = operator.does("subscriber", "import", SLUG, file)
    assert said.out == "0 added, 1 already followed, 0 refused.\n"


@pytest.mark.parametrize("line_end", ["\r\n", "\n", "\r"])
def test_a_file_from_a_spreadsheet_is_read(operator: Operator, line_end: str) -> None:
    operator.opens_a_room()
    text = line_end.join(["address,locale", f"{KARI},nb", f'"{ADA}",nn', ""])
    file = operator.file("a.csv", b"\xef\xbb\xbf" + text.encode())
    said = operator.does("subscriber", "import", SLUG, file)
    assert said.out.startswith("2 added")


def test_a_file_that_is_not_utf_8_loses_only_the_lines_it_breaks(operator: Operator) -> None:
    operator.opens_a_room()
    file = operator.file("a.csv", f"address\nkåre@example.org\n{KARI}\n".encode("latin-1"))
    said = operator.does("subscriber", "import", SLUG, file)
    assert said.out == "1 added, 0 already followed, 1 refused.\n"
    assert "line 2" in said.err


def test_no_report_names_an_address(operator: Operator) -> None:
    operator.opens_a_room()
    file = operator.file("a.csv", b"address\nkari@hemmelig\n")
    said = operator.does("subscriber", "import", SLUG, file)
    assert "hemmelig" not in said.out + said.err


def test_publishing_the_same_file_again_is_the_same_release(operator: Operator) -> None:
    operator.opens_a_room()
    first = operator.does("release", "publish", SLUG, operator.release_file(hold_minutes=10))
    again = operator.does("release", "publish", SLUG, operator.release_file(hold_minutes=10))
    assert first.out == again.out
    assert "is held" in first.out


@on_both_databases
def test_the_receipt_balances(operator: Operator) -> None:
    operator.opens_a_room()
    said = operator.does("release", "publish", SLUG, operator.release_file(notify=False))
    account = operator.does("release", "receipt", number(said.out), "--json").json
    assert account["state"] == "done"
    parts = ("accepted", "refused", "skipped", "deferred", "waiting")
    assert account["total"] == sum(account[part] for part in parts) == 0


def test_the_receipt_can_be_read_too(operator: Operator) -> None:
    operator.opens_a_room()
    said = operator.does("release", "publish", SLUG, operator.release_file(notify=False))
    told = operator.does("release", "receipt", number(said.out)).out
    for word in ("done", "accepted", "refused", "skipped", "deferred", "waiting", "uncertain"):
        assert word in told


def test_a_release_at_rest_is_not_watched_for_ever(operator: Operator) -> None:
    operator.opens_a_room()
    file = operator.release_file(hold_minutes=10)
    said = operator.does("release", "publish", SLUG, file, "--watch")
    assert "held" in said.out.splitlines()[-1]


def test_a_held_release_is_sent_now_or_stopped(operator: Operator) -> None:
    operator.opens_a_room()
    said = operator.does("release", "publish", SLUG, operator.release_file(hold_minutes=10))
    one = number(said.out)
    assert "is sending" in operator.does("release", "resume", one).out
    assert "is stopped" in operator.does("release", "stop", one).out
    assert "stopped cannot be resumed" in operator.run("release", "resume", one).sentence


def test_a_release_is_corrected_and_taken_back(operator: Operator) -> None:
    operator.opens_a_room()
    said = operator.does("release", "publish", SLUG, operator.release_file(hold_minutes=10))
    one = number(said.out)
    better = operator.release_file(hold_minutes=10, title="Skuta er i Bergen", note="Ikke hjemme.")
    two = number(operator.does("release", "correct", one, better).out)
    assert two != one
    said = operator.does("release", "retract", two, "--note", "Den var en prøve.")
    assert f"takes back release {two}" in said.out
    assert f"Release {two} is in the place" in operator.run("release", "retract", one).sentence


def test_migrating_again_is_fine(operator: Operator) -> None:
    for _ in range(2):
        assert "up to date" in operator.does("db", "upgrade").out
