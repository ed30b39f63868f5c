"""Publishing over HTTP: one call, safe to repeat, and what is told afterwards."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import quote

import pytest

from mailer.domain import publishers
from tests.api.client import RELEASES, ApiClient, problem
from tests.domain.press_room import ADA, KARI, RELEASE, ROOM

ACCOUNT = ("total", "accepted", "refused", "skipped", "deferred", "waiting", "uncertain")


def test_a_release_is_accepted_with_its_state_and_links(both: ApiClient) -> None:
    answer = both.publish()
    assert answer.status_code == 202
    told = answer.get_json()
    itself = f"{RELEASES}/{told['id']}"
    assert told["reference"] == RELEASE["reference"]
    assert told["state"] == "sending"
    assert told["links"]["self"] == itself
    for name in ("receipt", "recipients", "stop", "resume", "correct", "retract"):
        assert told["links"][name] == f"{itself}/{name}"


def test_every_link_leads_somewhere(both: ApiClient) -> None:
    links = both.publish(hold_minutes=10).get_json()["links"]
    assert both.call("GET", links["self"]).status_code == 200
    assert both.call("GET", links["receipt"]).status_code == 200
    problem(both.call("GET", f"{links['recipients']}?address={KARI}"), 404)
    assert both.call("POST", links["resume"]).status_code == 200
    assert both.call("POST", links["stop"]).status_code == 200


def test_the_same_call_again_gets_the_same_answer(both: ApiClient) -> None:
    first = both.publish(hold_minutes=10)
    both.call("POST", first.get_json()["links"]["stop"])
    again = both.publish(hold_minutes=10)
    assert (again.status_code, again.data) == (first.status_code, first.data)


def test_other_content_is_a_conflict_that_names_the_release_and_the_way(both: ApiClient) -> None:
    first = both.publish().get_json()["id"]
    told = problem(both.publish(title="En annen nyhet"), 409)
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
    both: ApiClient, changes: dict[str, object], state: str
) -> None:
    assert both.publish(**changes).get_json()["state"] == state


def test_progress_and_receipt_of_a_new_release(both: ApiClient) -> None:
    links = both.publish(hold_minutes=10).get_json()["links"]
    progress = both.call("GET", links["self"]).get_json()
    assert (progress["state"], progress["total"], progress["accepted"]) == ("held", 0, 0)
    receipt = both.call("GET", links["receipt"]).get_json()
    assert [receipt[name] for name in ACCOUNT] == [0] * len(ACCOUNT)
    assert receipt["state"] == "held"


def test_a_held_release_goes_on_or_is_stopped_and_again_is_fine(both: ApiClient) -> None:
    links = both.publish(hold_minutes=10).get_json()["links"]
    for _ in range(2):
        assert both.call("POST", links["resume"]).get_json()["state"] == "sending"
    for _ in range(2):
        assert both.call("POST", links["stop"]).get_json()["state"] == "stopped"


def test_what_contradicts_is_a_conflict(both: ApiClient) -> None:
    done = both.publish(notify=False).get_json()
    problem(both.call("POST", done["links"]["stop"]), 409)
    problem(both.call("POST", done["links"]["resume"]), 409)


def test_the_release_of_another_press_room_is_not_there(both: ApiClient) -> None:
    links = both.publish(hold_minutes=10).get_json()["links"]
    with both.app.app_context():
        other = publishers.add(replace(ROOM, slug="fjellavisa"))
    for name in ("self", "receipt"):
        problem(both.call("GET", links[name], other), 404)
    problem(both.call("GET", f"{links['recipients']}?address={KARI}", other), 404)
    for name in ("stop", "resume"):
        problem(both.call("POST", links[name], other), 404)
    assert both.call("GET", links["self"]).get_json()["state"] == "held"


@pytest.mark.parametrize("number", ["0", "4711", str(2**63), "9" * 30])
@pytest.mark.parametrize("more", ["", "/receipt", f"/recipients?address={ADA}"])
def test_a_number_of_no_release_is_not_found(both: ApiClient, number: str, more: str) -> None:
    problem(both.call("GET", f"{RELEASES}/{number}{more}"), 404)


@pytest.mark.parametrize("act", ["stop", "resume"])
def test_nothing_is_done_to_a_number_of_no_release(both: ApiClient, act: str) -> None:
    problem(both.call("POST", f"{RELEASES}/{2**63}/{act}"), 404)


@pytest.mark.parametrize(
    "address", ["", "kari", "kari@example.org\n", "a\0b@example.org", "\ud800"]
)
def test_what_is_no_address_is_no_recipient(both: ApiClient, address: str) -> None:
    links = both.publish(notify=False).get_json()["links"]
    written = quote(address, errors="surrogatepass")
    told = problem(both.call("GET", f"{links['recipients']}?address={written}"), 422)
    assert [one["field"] for one in told["errors"]] == ["address"]
