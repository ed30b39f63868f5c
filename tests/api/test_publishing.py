"""Publishing over HTTP: one call, safe to repeat, and what is told afterwards."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import quote

import pytest

from mailer.domain import publishers
from tests.api.problems import problem
from tests.conftest import on_both_databases
from tests.support.press_room import ADA, DRAFT, KARI, PressRoom
from tests.support.publishing_system import RELEASES
from tests.support.releases import RELEASE

ACCOUNT = ("total", "accepted", "refused", "skipped", "deferred", "waiting", "uncertain")


def test_a_release_is_accepted_with_its_state_and_links(room: PressRoom) -> None:
    answer = room.post_release()
    assert answer.status_code == 202
    told = answer.get_json()
    itself = f"{RELEASES}/{told['id']}"
    assert told["reference"] == RELEASE["reference"]
    assert told["state"] == "sending"
    assert told["links"]["self"] == itself
    for name in ("receipt", "recipients", "stop", "resume", "correct", "retract"):
        assert told["links"][name] == f"{itself}/{name}"


def test_every_link_leads_somewhere(room: PressRoom) -> None:
    links = room.post_release(hold_minutes=10).get_json()["links"]
    assert room.call("GET", links["self"]).status_code == 200
    assert room.call("GET", links["receipt"]).status_code == 200
    problem(room.call("GET", f"{links['recipients']}?address={KARI}"), 404)
    assert room.call("POST", links["resume"]).status_code == 200
    assert room.call("POST", links["stop"]).status_code == 200


@on_both_databases
def test_the_same_call_again_gets_the_same_answer(room: PressRoom) -> None:
    first = room.post_release(hold_minutes=10)
    room.call("POST", first.get_json()["links"]["stop"])
    again = room.post_release(hold_minutes=10)
    assert (again.status_code, again.data) == (first.status_code, first.data)


@on_both_databases
def test_other_content_is_a_conflict_that_names_the_release_and_the_way(room: PressRoom) -> None:
    first = room.post_release().get_json()["id"]
    told = problem(room.post_release(title="En annen nyhet"), 409)
    assert told["release"] == first
    assert str(first) in told["detail"]
    assert "correct" in told["detail"]


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({"hold_minutes": 10}, "held"),
        ({"published_at": "2199-05-17T12:00:00Z"}, "scheduled"),
        ({"notify": False}, "done"),
        ({"published_at": "2025-05-17T12:00:00Z"}, "done"),
    ],
)
def test_what_is_not_sent_now_says_so(
    room: PressRoom, changes: dict[str, object], state: str
) -> None:
    assert room.post_release(**changes).get_json()["state"] == state


@on_both_databases
def test_progress_and_receipt_of_a_new_release(room: PressRoom) -> None:
    links = room.post_release(hold_minutes=10).get_json()["links"]
    progress = room.call("GET", links["self"]).get_json()
    assert (progress["state"], progress["total"], progress["accepted"]) == ("held", 0, 0)
    receipt = room.call("GET", links["receipt"]).get_json()
    assert [receipt[name] for name in ACCOUNT] == [0] * len(ACCOUNT)
    assert receipt["state"] == "held"


def test_a_held_release_goes_on_or_is_stopped_and_again_is_fine(room: PressRoom) -> None:
    links = room.post_release(hold_minutes=10).get_json()["links"]
    for _ in range(2):
        assert room.call("POST", links["resume"]).get_json()["state"] == "sending"
    for _ in range(2):
        assert room.call("POST", links["stop"]).get_json()["state"] == "stopped"


def test_what_contradicts_is_a_conflict(room: PressRoom) -> None:
    done = room.post_release(notify=False).get_json()
    problem(room.call("POST", done["links"]["stop"]), 409)
    problem(room.call("POST", done["links"]["resume"]), 409)


def test_the_release_of_another_press_room_is_not_there(room: PressRoom) -> None:
    links = room.post_release(hold_minutes=10).get_json()["links"]
    with room.app.app_context():
        other = publishers.add(replace(DRAFT, slug="fjellavisa"))
    for name in ("self", "receipt"):
        problem(room.call("GET", links[name], other), 404)
    problem(room.call("GET", f"{links['recipients']}?address={KARI}", other), 404)
    for name in ("stop", "resume"):
        problem(room.call("POST", links[name], other), 404)
    assert room.call("GET", links["self"]).get_json()["state"] == "held"


@pytest.mark.parametrize("number", ["0", "4711", str(2**63), "9" * 30])
@pytest.mark.parametrize("more", ["", "/receipt", f"/recipients?address={ADA}"])
def test_a_number_of_no_release_is_not_found(room: PressRoom, number: str, more: str) -> None:
    problem(room.call("GET", f"{RELEASES}/{number}{more}"), 404)


@pytest.mark.parametrize("act", ["stop", "resume"])
def test_nothing_is_done_to_a_number_of_no_release(room: PressRoom, act: str) -> None:
    problem(room.call("POST", f"{RELEASES}/{2**63}/{act}"), 404)


@pytest.mark.parametrize(
    "address", ["", "kari", "kari@example.org\n", "a\0b@example.org", "\ud800"]
)
def test_what_is_no_address_is_no_recipient(room: PressRoom, address: str) -> None:
    links = room.post_release(notify=False).get_json()["links"]
    written = quote(address, errors="surrogatepass")
    told = problem(room.call("GET", f"{links['recipients']}?address={written}"), 422)
    assert [one["field"] for one in told["errors"]] == ["address"]
