"""Leaving and coming back: by the page, and by the button of a mail client (RFC 8058)."""

from __future__ import annotations

import re

import pytest

from tests.conftest import Databases
from tests.web.house import FORM, NAME, ROOM, House, house, text

ONE_CLICK = {"List-Unsubscribe": "One-Click"}


def test_looking_changes_nothing_acting_ends_and_undo_takes_up_again(home: House) -> None:
    one = home.confirmed()
    path = f"/unsubscribe/{home.links.token('unsubscribe', one)}"
    before = home.rows()
    asked = [home.client.get(path), home.client.head(path)]
    assert [answer.status_code for answer in asked] == [200, 200]
    assert "Stopp disse e-postene" in text(asked[0])
    assert text(asked[0]).count("<button") == 1
    assert home.rows() == before

    for _ in range(2):
        answer = home.client.post(path)
        assert answer.status_code == 200
        assert f"Du følger ikke lenger {NAME}" in text(answer)
        assert home.view(one) == (True, True)
    after = home.rows()
    assert 'name="action" value="undo"' in text(home.client.get(path))
    assert home.rows() == after

    for _ in range(2):
        answer = home.client.post(path, data={"action": "undo"})
        assert answer.status_code == 200
        assert f"Du følger {NAME} igjen" in text(answer)
        assert home.view(one) == (True, False)
    steps = [step for step, *_ in home.consents()]
    assert steps == ["requested", "confirmed", "unsubscribed", "resumed"]


def test_undo_after_an_erasure_promises_nothing(home: House) -> None:
    one = home.ended()
    home.erase(one)
    path = f"/unsubscribe/{home.links.token('unsubscribe', one)}"
    assert home.client.post(path).status_code == 200
    answer = home.client.post(path, data={"action": "undo"})
    assert answer.status_code == 200
    assert "Dette abonnementet er avsluttet" in text(answer)
    assert f'href="{ROOM}?locale=nb"' in text(answer)


@pytest.mark.parametrize("content_type", [FORM, "multipart/form-data"])
def test_one_click_ends_at_once_and_quietly(home: House, content_type: str) -> None:
    one = home.confirmed()
    path = f"/one-click/{home.links.token('one-click', one)}"
    for _ in range(2):
        answer = home.client.post(path, data=ONE_CLICK, content_type=content_type)
        assert answer.status_code == 200
        assert answer.mimetype == "text/plain"
        assert answer.text == f"Du følger ikke lenger {NAME}."
        assert "Set-Cookie" not in answer.headers
        assert "Location" not in answer.headers
        assert home.view(one) == (True, True)
    assert [step for step, *_ in home.consents()].count("unsubscribed") == 1


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
def test_another_body_is_not_a_click(home: House, body: bytes, content_type: str) -> None:
    one = home.confirmed()
    path = f"/one-click/{home.links.token('one-click', one)}"
    assert home.client.post(path, data=body, content_type=content_type).status_code == 400
    assert home.view(one) == (True, False)


def test_a_person_who_comes_by_the_one_click_link_is_asked(home: House) -> None:
    one = home.confirmed()
    before = home.rows()
    answer = home.client.get(f"/one-click/{home.links.token('one-click', one)}")
    assert answer.status_code == 200
    assert home.rows() == before
    action = re.search(r'action="(/unsubscribe/[^"]+)"', text(answer))
    assert action is not None
    assert home.client.post(action[1]).status_code == 200
    assert home.view(one) == (True, True)


def test_no_wish_in_the_link_leads_elsewhere(home: House) -> None:
    one = home.confirmed()
    path = f"/unsubscribe/{home.links.token('unsubscribe', one)}"
    answer = home.client.post(f"{path}?next=//evil.example", data={"next": "//evil.example"})
    assert answer.status_code == 200
    assert "evil" not in text(answer)


def test_a_link_from_many_keys_ago_still_leaves(databases: Databases) -> None:
    keys = [str(number) * 32 for number in range(5)]
    with databases.fresh("sqlite") as url:
        with house(url, SECRET_KEYS=keys[4]) as long_ago:
            one = long_ago.confirmed()
            path = f"/unsubscribe/{long_ago.links.token('unsubscribe', one)}"
        with house(url, furnished=True, SECRET_KEYS=",".join(keys)) as today:
            assert today.client.post(path).status_code == 200
            assert today.view(one) == (True, True)
