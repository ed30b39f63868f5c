"""Leaving and coming back: by the page, and by the button of a mail client (RFC 8058)."""

from __future__ import annotations

import re

import pytest

from tests.conftest import Databases
from tests.web.site import FORM, NAME, ROOM, Site, open_site, text

ONE_CLICK = {"List-Unsubscribe": "One-Click"}


def test_looking_changes_nothing_acting_ends_and_undo_takes_up_again(site: Site) -> None:
    one = site.confirmed()
    path = f"/unsubscribe/{site.links.token('unsubscribe', one)}"
    before = site.rows()
    asked = [site.client.get(path), site.client.head(path)]
    assert [answer.status_code for answer in asked] == [200, 200]
    assert "Stopp disse e-postene" in text(asked[0])
    assert text(asked[0]).count("<button") == 1
    assert site.rows() == before

    for _ in range(2):
        answer = site.client.post(path)
        assert answer.status_code == 200
        assert f"Du følger ikke lenger {NAME}" in text(answer)
        assert site.view(one) == (True, True)
    after = site.rows()
    assert 'name="action" value="undo"' in text(site.client.get(path))
    assert site.rows() == after

    for _ in range(2):
        answer = site.client.post(path, data={"action": "undo"})
        assert answer.status_code == 200
        assert f"Du følger {NAME} igjen" in text(answer)
        assert site.view(one) == (True, False)
    steps = [step for step, *_ in site.consents()]
    assert steps == ["requested", "confirmed", "unsubscribed", "resumed"]


def test_undo_after_an_erasure_promises_nothing(site: Site) -> None:
    one = site.ended()
    site.erase(one)
    path = f"/unsubscribe/{site.links.token('unsubscribe', one)}"
    assert site.client.post(path).status_code == 200
    answer = site.client.post(path, data={"action": "undo"})
    assert answer.status_code == 200
    assert "Dette abonnementet er avsluttet" in text(answer)
    assert f'href="{ROOM}?locale=nb"' in text(answer)


@pytest.mark.parametrize("content_type", [FORM, "multipart/form-data"])
def test_one_click_ends_at_once_and_quietly(site: Site, content_type: str) -> None:
    one = site.confirmed()
    path = f"/one-click/{site.links.token('one-click', one)}"
    for _ in range(2):
        answer = site.client.post(path, data=ONE_CLICK, content_type=content_type)
        assert answer.status_code == 200
        assert answer.mimetype == "text/plain"
        assert answer.text == f"Du følger ikke lenger {NAME}."
        assert "Set-Cookie" not in answer.headers
        assert "Location" not in answer.headers
        assert site.view(one) == (True, True)
    assert [step for step, *_ in site.consents()].count("unsubscribed") == 1


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
def test_another_body_is_not_a_click(site: Site, body: bytes, content_type: str) -> None:
    one = site.confirmed()
    path = f"/one-click/{site.links.token('one-click', one)}"
    assert site.client.post(path, data=body, content_type=content_type).status_code == 400
    assert site.view(one) == (True, False)


def test_a_person_who_comes_by_the_one_click_link_is_asked(site: Site) -> None:
    one = site.confirmed()
    before = site.rows()
    answer = site.client.get(f"/one-click/{site.links.token('one-click', one)}")
    assert answer.status_code == 200
    assert site.rows() == before
    action = re.search(r'action="(/unsubscribe/[^"]+)"', text(answer))
    assert action is not None
    assert site.client.post(action[1]).status_code == 200
    assert site.view(one) == (True, True)


def test_no_wish_in_the_link_leads_elsewhere(site: Site) -> None:
    one = site.confirmed()
    path = f"/unsubscribe/{site.links.token('unsubscribe', one)}"
    answer = site.client.post(f"{path}?next=//evil.example", data={"next": "//evil.example"})
    assert answer.status_code == 200
    assert "evil" not in text(answer)


def test_a_link_from_many_keys_ago_still_leaves(databases: Databases) -> None:
    keys = [str(number) * 32 for number in range(5)]
    with databases.fresh("sqlite") as url:
        with open_site(url, SECRET_KEYS=keys[4]) as long_ago:
            one = long_ago.confirmed()
            path = f"/unsubscribe/{long_ago.links.token('unsubscribe', one)}"
        with open_site(url, branded=True, SECRET_KEYS=",".join(keys)) as today:
            assert today.client.post(path).status_code == 200
            assert today.view(one) == (True, True)
