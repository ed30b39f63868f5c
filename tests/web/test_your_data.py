"""What is known: behind a link of a day, to be downloaded, or deleted."""

from __future__ import annotations

import json

import pytest
from itsdangerous import TimestampSigner

from mailer.domain.tokens import Purpose
from mailer.mail.content import ACCESS_WITHIN
from tests.conftest import Databases, on_both_databases
from tests.support.press_room import PressRoom, open_press_room
from tests.web.pages import ROOM, text

KARI = "kari@example.org"


def path_of(room: PressRoom, subscription_id: int) -> str:
    """Return where the link in the letter leads."""
    return f"/your-data/{room.tokens.token('access', subscription_id)}"


def test_looking_and_asking_change_nothing(room: PressRoom) -> None:
    path = path_of(room, room.confirmed(KARI))
    before = room.everything()
    page = room.client.get(path)
    assert page.status_code == 200
    assert KARI in text(page)
    asked = room.client.post(path, data={"action": "ask"})
    assert asked.status_code == 200
    assert text(asked).count("<button") == 1
    assert 'value="erase"' in text(asked)
    assert room.everything() == before


@pytest.mark.parametrize("fields", [{}, {"action": ""}, {"action": "all"}])
def test_what_no_button_says_does_nothing(room: PressRoom, fields: dict[str, str]) -> None:
    path = path_of(room, room.confirmed())
    before = room.everything()
    assert room.client.post(path, data=fields).status_code == 400
    assert room.everything() == before


@on_both_databases
def test_the_file_has_everything(room: PressRoom) -> None:
    one = room.confirmed(KARI)
    room.client.post(
        f"/manage/{room.tokens.token('unsubscribe', one)}",
        data={"pause": "2"},
        environ_base={"REMOTE_ADDR": "192.0.2.77"},
    )
    room.confirmed("ola@example.org")
    before = room.everything()
    answer = room.client.post(path_of(room, one), data={"action": "download"})
    assert answer.mimetype == "application/json"
    assert answer.headers["Content-Disposition"].startswith("attachment;")
    assert answer.headers["Cache-Control"] == "no-store"
    known = json.loads(answer.get_data())
    assert known["address"] == KARI
    [subscription] = known["subscriptions"]
    assert subscription["confirmed_at"] is not None
    assert subscription["paused_until"] is not None
    assert [one["step"] for one in subscription["consents"]] == ["requested", "confirmed", "paused"]
    paused = subscription["consents"][-1]
    assert (paused["network"], paused["language"]) == ("192.0.2.0/24", "nb")
    assert paused["page"] == f"{room.settings.base_url}/manage"
    letters = subscription["letters"]
    assert [one["kind"] for one in letters] == ["confirm", "welcome"]
    assert letters[0]["message_id"] == subscription["consents"][0]["message_id"]
    assert "ola@" not in answer.text
    assert room.everything() == before


@on_both_databases
def test_deleting_leaves_nothing_and_may_come_again(room: PressRoom) -> None:
    one = room.confirmed(KARI)
    path = path_of(room, one)
    for fields in ({"action": "erase"}, {"action": "erase"}, {"action": "download"}):
        answer = room.client.post(path, data=fields)
        assert answer.status_code == 200
        assert answer.mimetype == "text/html"
        assert "Vi vet ikke lenger noe om deg" in text(answer)
        assert f'action="{ROOM}follow"' in text(answer)
    assert "kari" not in str(room.everything())
    assert "Vi vet ikke lenger noe om deg" in text(room.client.get(path))


@pytest.mark.parametrize("page_name", ["unsubscribe", "manage"])
def test_the_links_of_old_letters_still_answer_after_that(room: PressRoom, page_name: str) -> None:
    one = room.confirmed(KARI)
    room.client.post(path_of(room, one), data={"action": "erase"})
    path = f"/{page_name}/{room.tokens.token('unsubscribe', one)}"
    assert room.client.get(path).status_code == 200
    fields = {} if page_name == "unsubscribe" else {"data": "link"}
    assert room.client.post(path, data=fields).status_code == 200
    undo = room.client.post(
        f"/unsubscribe/{room.tokens.token('unsubscribe', one)}", data={"action": "undo"}
    )
    assert "Dette abonnementet er avsluttet" in text(undo)
    assert "kari" not in str(room.everything())


def test_without_a_key_for_the_hash_nobody_is_offered_to_be_deleted(
    databases: Databases,
) -> None:
    with databases.fresh("sqlite") as url, open_press_room(url, MAILER_ERASURE_KEY="") as room:
        path = path_of(room, room.confirmed(KARI))
        page = text(room.client.get(path))
        assert 'value="ask"' not in page
        assert "presse@example.org" in page
        before = room.everything()
        assert room.client.post(path, data={"action": "erase"}).status_code == 400
        assert room.everything() == before


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_after_a_day_it_leads_back_to_where_another_is_had(
    room: PressRoom, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = room.confirmed(KARI)
    age = int(ACCESS_WITHIN.total_seconds()) + 60
    timestamp = TimestampSigner.get_timestamp
    with monkeypatch.context() as earlier:
        earlier.setattr(TimestampSigner, "get_timestamp", lambda self: timestamp(self) - age)
        path = path_of(room, one)
    answer = room.client.open(path, method=method, data={"action": "erase"})
    assert answer.status_code == 410
    assert f"/manage/{room.tokens.token('unsubscribe', one)}" in text(answer)
    assert KARI not in text(answer)
    assert answer.headers["Cache-Control"] == "no-store"
    assert KARI in str(room.everything())


@pytest.mark.parametrize("purpose", ["confirm", "unsubscribe", "one-click"])
def test_no_other_token_leads_here(room: PressRoom, purpose: Purpose) -> None:
    token = room.tokens.token(purpose, room.confirmed())
    assert room.client.get(f"/your-data/{token}").status_code == 400


def test_only_the_two_newest_keys_lead_here(databases: Databases) -> None:
    keys = [f"a key of the press room by number {number}" for number in range(3)]
    with databases.fresh("sqlite") as url:
        with open_press_room(url, SECRET_KEYS=keys[2]) as before:
            path = path_of(before, before.confirmed())
        for newer, status in ((keys[1:], 200), (keys, 400)):
            with open_press_room(url, SECRET_KEYS=",".join(newer)) as today:
                assert today.client.get(path).status_code == status
