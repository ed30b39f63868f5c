"""Correcting and retracting over HTTP: safe to repeat, and clear about what is in whose place."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest

from tests.api.problems import problem
from tests.conftest import on_both_databases
from tests.support.press_room import PressRoom
from tests.support.publishing_system import RELEASES
from tests.support.releases import release

BETTER = "Skuta er i Bergen"


def correct(client: PressRoom, release_id: int, **changes: Any) -> Any:
    return client.call("POST", f"{RELEASES}/{release_id}/correct", json=release(**changes))


def test_a_correction_takes_the_place_of_a_release(room: PressRoom) -> None:
    first = room.post_release().get_json()
    answer = correct(room, first["id"], title=BETTER, note="Skuta er ikke hjemme ennå.")
    assert answer.status_code == 202
    told = answer.get_json()
    assert (told["version"], told["letter"], told["replaces"]) == (2, "correction", first["id"])
    assert told["reference"] == first["reference"]
    old = room.call("GET", first["links"]["self"]).get_json()
    assert (old["state"], old["replaced_by"]) == ("stopped", told["id"])
    assert room.call("GET", told["links"]["self"]).get_json()["replaced_by"] is None


@on_both_databases
def test_the_same_correction_again_gets_the_same_answer(room: PressRoom) -> None:
    first = room.post_release().get_json()["id"]
    one, again = (correct(room, first, title=BETTER) for _ in range(2))
    assert (again.status_code, again.data) == (one.status_code, one.data)


@on_both_databases
def test_another_correction_is_a_conflict_that_names_what_is_there(room: PressRoom) -> None:
    first = room.post_release().get_json()["id"]
    second = correct(room, first, title=BETTER).get_json()["id"]
    told = problem(correct(room, first, title="Noe annet"), 409)
    assert str(second) in told["detail"]


def test_a_retraction_needs_no_body(room: PressRoom) -> None:
    first = room.post_release().get_json()
    for _ in range(2):
        answer = room.call("POST", first["links"]["retract"])
        assert (answer.status_code, answer.get_json()["letter"]) == (202, "retraction")


def test_a_retraction_may_say_why(room: PressRoom) -> None:
    first = room.post_release().get_json()
    answer = room.call("POST", first["links"]["retract"], json={"note": "Den var en prøve."})
    assert answer.status_code == 202


def test_a_note_that_comes_in_chunks_is_heard(room: PressRoom) -> None:
    first = room.post_release().get_json()
    answer = room.call(
        *("POST", first["links"]["retract"]),
        input_stream=BytesIO(b'{"note": 7}'),
        content_type="application/json",
        headers={"Transfer-Encoding": "chunked"},
        environ_overrides={"wsgi.input_terminated": True},
    )
    told = problem(answer, 422)
    assert [error["field"] for error in told["errors"]] == ["note"]


@pytest.mark.parametrize(
    ("body", "field"),
    [({"note": 7}, "note"), ({"note": ""}, "note"), ({"why": "x"}, "why"), ([], "")],
)
def test_what_a_retraction_cannot_take_is_named(room: PressRoom, body: Any, field: str) -> None:
    first = room.post_release().get_json()
    told = problem(room.call("POST", first["links"]["retract"], json=body), 422)
    assert [error["field"] for error in told["errors"]] == [field]


def test_a_correction_under_another_reference_is_refused(room: PressRoom) -> None:
    first = room.post_release().get_json()["id"]
    told = problem(correct(room, first, reference="another"), 422)
    assert [error["field"] for error in told["errors"]] == ["reference"]


def test_a_reading_key_corrects_and_retracts_nothing(room: PressRoom) -> None:
    first = room.post_release().get_json()["links"]
    for name in ("correct", "retract"):
        problem(room.call("POST", first[name], room.add_key("read"), json=release()), 403)
