"""Leaving and coming back: by the page, and by the button of a mail client (RFC 8058)."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from sqlalchemy import update

from mailer.storage.database import transaction
from mailer.storage.models import Subscription
from mailer.storage.types import now
from tests.conftest import Databases, on_both_databases
from tests.support.press_room import NAME, PressRoom, open_press_room
from tests.web.pages import FORM, ROOM, text

ONE_CLICK = {"List-Unsubscribe": "One-Click"}


@on_both_databases
def test_looking_changes_nothing_acting_ends_and_undo_takes_up_again(room: PressRoom) -> None:
    one = room.confirmed()
    path = f"/unsubscribe/{room.tokens.token('unsubscribe', one)}"
    before = room.everything()
    asked = [room.client.get(path), room.client.head(path)]
    assert [answer.status_code for answer in asked] == [200, 200]
    assert ">Meld deg av</button>" in text(asked[0])
    leave, pause = re.findall("<button[^>]*>", text(asked[0]))
    assert ("name=" in leave, 'name="pause"' in pause) == (False, True)
    assert room.everything() == before

    for _ in range(2):
        answer = room.client.post(path)
        assert answer.status_code == 200
        assert f"Du følger ikke lenger {NAME}" in text(answer)
        assert room.view(one) == (True, True)
    after = room.everything()
    assert 'name="action" value="undo"' in text(room.client.get(path))
    assert room.everything() == after

    for _ in range(2):
        answer = room.client.post(path, data={"action": "undo"})
        assert answer.status_code == 200
        assert f"Du følger {NAME} igjen" in text(answer)
        assert room.view(one) == (True, False)
    assert room.steps() == ["requested", "confirmed", "unsubscribed", "resumed"]


@on_both_databases
@pytest.mark.parametrize(("days", "undone"), [(29, True), (31, False)])
def test_an_undo_is_for_thirty_days(room: PressRoom, *, days: int, undone: bool) -> None:
    one = room.ended()
    with room.app.app_context(), transaction() as session:
        session.execute(update(Subscription).values(ended_at=now() - timedelta(days=days)))
    path = f"/unsubscribe/{room.tokens.token('unsubscribe', one)}"
    assert ('value="undo"' in text(room.client.get(path))) == undone
    room.client.post(path, data={"action": "undo"})
    assert room.view(one) == (True, not undone)


def test_undo_after_an_erasure_promises_nothing(room: PressRoom) -> None:
    one = room.ended()
    room.erase(one)
    path = f"/unsubscribe/{room.tokens.token('unsubscribe', one)}"
    assert room.client.post(path).status_code == 200
    answer = room.client.post(path, data={"action": "undo"})
    assert answer.status_code == 200
    assert "Dette abonnementet er avsluttet" in text(answer)
    assert f'href="{ROOM}?locale=nb"' in text(answer)


@pytest.mark.parametrize("content_type", [FORM, "multipart/form-data"])
def test_one_click_ends_at_once_and_quietly(room: PressRoom, content_type: str) -> None:
    one = room.confirmed()
    path = f"/one-click/{room.tokens.token('one-click', one)}"
    for _ in range(2):
        answer = room.client.post(path, data=ONE_CLICK, content_type=content_type)
        assert answer.status_code == 200
        assert answer.mimetype == "text/plain"
        assert answer.text == f"Du følger ikke lenger {NAME}."
        assert "Set-Cookie" not in answer.headers
        assert "Location" not in answer.headers
        assert room.view(one) == (True, True)
    assert room.steps().count("unsubscribed") == 1


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", FORM),
        (b"List-Unsubscribe=Two-Clicks", FORM),
        (b"list-unsubscribe=One-Click", FORM),
        (b"List-Unsubscribe=One-Click", "text/plain"),
        (b"List-Unsubscribe=One-Click", ""),
        (b"List-Unsubscribe=One-Click&List-Unsubscribe=x", FORM),
        (b"\xff\x00", "multipart/form-data; boundary=b"),
    ],
)
def test_whatever_is_posted_is_a_click(room: PressRoom, body: bytes, content_type: str) -> None:
    one = room.confirmed()
    path = f"/one-click/{room.tokens.token('one-click', one)}"
    assert room.client.post(path, data=body, content_type=content_type).status_code == 200
    assert room.view(one) == (True, True)


def test_a_person_who_comes_by_the_one_click_link_is_asked(room: PressRoom) -> None:
    one = room.confirmed()
    before = room.everything()
    answer = room.client.get(f"/one-click/{room.tokens.token('one-click', one)}")
    assert answer.status_code == 200
    assert room.everything() == before
    action = re.search(r'action="(/unsubscribe/[^"]+)"', text(answer))
    assert action is not None
    assert room.client.post(action[1]).status_code == 200
    assert room.view(one) == (True, True)


def test_no_wish_in_the_link_leads_elsewhere(room: PressRoom) -> None:
    one = room.confirmed()
    path = f"/unsubscribe/{room.tokens.token('unsubscribe', one)}"
    answer = room.client.post(f"{path}?next=//evil.example", data={"next": "//evil.example"})
    assert answer.status_code == 200
    assert "evil" not in text(answer)


def test_a_link_from_many_keys_ago_still_leaves(databases: Databases) -> None:
    keys = [f"a key of the press room by number {number}" for number in range(5)]
    with databases.fresh("sqlite") as url:
        with open_press_room(url, SECRET_KEYS=keys[4]) as long_ago:
            one = long_ago.confirmed()
            path = f"/unsubscribe/{long_ago.tokens.token('unsubscribe', one)}"
        with open_press_room(url, SECRET_KEYS=",".join(keys)) as today:
            assert today.client.post(path).status_code == 200
            assert today.view(one) == (True, True)
