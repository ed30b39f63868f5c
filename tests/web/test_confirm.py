"""Confirming: the page asks, the button acts, and both may come again."""

from __future__ import annotations

import pytest
from itsdangerous import TimestampSigner

from mailer.domain.tokens import CONFIRM_WITHIN, Purpose
from tests.web.house import NAME, ROOM, House, text


def test_looking_changes_nothing_and_acting_confirms_once(home: House) -> None:
    one = home.requested()
    path = f"/confirm/{home.links.token('confirm', one)}"
    before = home.rows()
    asked = [home.client.get(path), home.client.head(path), home.client.get(path)]
    assert [answer.status_code for answer in asked] == [200] * 3
    assert f"Vil du følge {NAME}?" in text(asked[0])
    assert text(asked[0]).count("<button") == 1
    assert home.rows() == before

    answers = [home.client.post(path), home.client.post(path)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert all(f"Nå følger du {NAME}" in text(answer) for answer in answers)
    assert home.view(one) == (True, False)
    assert [step for step, *_ in home.consents()] == ["requested", "confirmed"]
    page = home.consents()[1][2]
    assert page == f"{home.settings.base_url}/confirm"

    after = home.rows()
    again = home.client.get(path)
    assert f"Du følger allerede {NAME}" in text(again)
    assert "<button" not in text(again)
    assert home.rows() == after


def test_the_page_speaks_the_language_of_the_follower(home: House) -> None:
    one = home.requested(locale="nn")
    path = f"/confirm/{home.links.token('confirm', one)}"
    answer = home.client.get(path, headers={"Accept-Language": "en"})
    assert "Ja, eg vil følgje" in text(answer)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_ended_subscription_is_not_confirmed_but_shown_the_way(home: House, method: str) -> None:
    one = home.ended()
    before = home.rows()
    answer = home.client.open(f"/confirm/{home.links.token('confirm', one)}", method=method)
    assert answer.status_code == 200
    assert "Dette abonnementet er avsluttet" in text(answer)
    assert f'href="{ROOM}?locale=nb"' in text(answer)
    assert home.rows() == before


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_old_link_has_expired(home: House, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one = home.requested()
    age = int(CONFIRM_WITHIN.total_seconds()) + 60
    timestamp = TimestampSigner.get_timestamp
    with monkeypatch.context() as earlier:
        earlier.setattr(TimestampSigner, "get_timestamp", lambda self: timestamp(self) - age)
        token = home.links.token("confirm", one)
    before = home.rows()
    answer = home.client.open(f"/confirm/{token}", method=method)
    assert answer.status_code == 410
    assert "Denne lenken er utløpt. Meld deg på igjen." in text(answer)
    assert NAME in text(answer)
    assert f'href="{ROOM}?locale=nb"' in text(answer)
    assert home.rows() == before


@pytest.mark.parametrize(
    ("door", "another"),
    [("confirm", "unsubscribe"), ("unsubscribe", "one-click"), ("one-click", "confirm")],
)
def test_links_that_are_not_ours_get_one_answer(
    home: House, door: Purpose, another: Purpose
) -> None:
    one = home.requested()
    good = home.links.token(door, one)
    middle = len(good) // 2
    forged = good[:middle] + ("B" if good[middle] == "A" else "A") + good[middle + 1 :]
    truncated = [good[:-5], good[:5]]
    nonsense = ["x", "%00", "%ff", "æ", "." * 50, "x" * 5000]
    misplaced = [home.links.token(another, one), home.links.token(door, 10**6)]
    before = home.rows()
    for method in ("GET", "POST"):
        answers = [
            home.client.open(f"/{door}/{token}", method=method)
            for token in (forged, *truncated, *nonsense, *misplaced)
        ]
        assert {answer.status_code for answer in answers} == {400}
        assert len({answer.data for answer in answers}) == 1
        assert "This link is not valid." in text(answers[0])
    assert home.rows() == before
