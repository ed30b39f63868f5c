"""Confirming: the page asks, the button acts, and both may come again."""

from __future__ import annotations

import pytest
from itsdangerous import TimestampSigner

from mailer.domain.tokens import Purpose
from mailer.mail.content import CONFIRM_WITHIN
from tests.conftest import on_both_databases
from tests.support.press_room import NAME, PressRoom
from tests.web.pages import ROOM, text


@on_both_databases
def test_looking_changes_nothing_and_acting_confirms_once(room: PressRoom) -> None:
    one = room.sign_up()
    path = f"/confirm/{room.tokens.token('confirm', one)}"
    before = room.everything()
    asked = [room.client.get(path), room.client.head(path), room.client.get(path)]
    assert [answer.status_code for answer in asked] == [200] * 3
    assert f"Vil du følge {NAME}?" in text(asked[0])
    assert text(asked[0]).count("<button") == 1
    assert room.everything() == before

    answers = [room.client.post(path), room.client.post(path)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert all(f"Nå følger du {NAME}" in text(answer) for answer in answers)
    assert room.view(one) == (True, False)
    assert room.steps() == ["requested", "confirmed"]
    page = room.consents()[1].page
    assert page == f"{room.settings.base_url}/confirm"

    after = room.everything()
    again = room.client.get(path)
    assert f"Du følger allerede {NAME}" in text(again)
    assert "<button" not in text(again)
    assert room.everything() == after


def test_the_page_speaks_the_language_of_the_follower(room: PressRoom) -> None:
    one = room.sign_up(locale="nn")
    path = f"/confirm/{room.tokens.token('confirm', one)}"
    answer = room.client.get(path, headers={"Accept-Language": "en"})
    assert "Ja, eg vil følgje" in text(answer)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_ended_subscription_is_not_confirmed_but_shown_the_way(
    room: PressRoom, method: str
) -> None:
    one = room.ended()
    before = room.everything()
    answer = room.client.open(f"/confirm/{room.tokens.token('confirm', one)}", method=method)
    assert answer.status_code == 200
    assert "Dette abonnementet er avsluttet" in text(answer)
    assert f'href="{ROOM}?locale=nb"' in text(answer)
    assert room.everything() == before


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_old_link_has_expired(
    room: PressRoom, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = room.sign_up()
    age = int(CONFIRM_WITHIN.total_seconds()) + 60
    timestamp = TimestampSigner.get_timestamp
    with monkeypatch.context() as earlier:
        earlier.setattr(TimestampSigner, "get_timestamp", lambda self: timestamp(self) - age)
        token = room.tokens.token("confirm", one)
    before = room.everything()
    answer = room.client.open(f"/confirm/{token}", method=method)
    assert answer.status_code == 410
    assert "Denne lenken er utløpt. Meld deg på igjen." in text(answer)
    assert NAME in text(answer)
    assert f'href="{ROOM}?locale=nb"' in text(answer)
    assert room.everything() == before


@pytest.mark.parametrize(
    ("page_name", "another"),
    [("confirm", "unsubscribe"), ("unsubscribe", "one-click"), ("one-click", "confirm")],
)
def test_links_that_are_not_ours_get_one_answer(
    room: PressRoom, page_name: Purpose, another: Purpose
) -> None:
    one = room.sign_up()
    good = room.tokens.token(page_name, one)
    middle = len(good) // 2
    forged = good[:middle] + ("B" if good[middle] == "A" else "A") + good[middle + 1 :]
    truncated = [good[:-5], good[:5]]
    nonsense = ["x", "%00", "%ff", "æ", "." * 50, "x" * 5000]
    misplaced = [room.tokens.token(another, one), room.tokens.token(page_name, 10**6)]
    before = room.everything()
    for method in ("GET", "POST"):
        answers = [
            room.client.open(f"/{page_name}/{token}", method=method)
            for token in (forged, *truncated, *nonsense, *misplaced)
        ]
        assert {answer.status_code for answer in answers} == {400}
        assert len({answer.data for answer in answers}) == 1
        assert "This link is not valid." in text(answers[0])
    assert room.everything() == before
