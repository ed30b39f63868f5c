"""Confirming: the page asks, the button acts, and both may come again."""

from __future__ import annotations

import pytest
from itsdangerous import TimestampSigner

from mailer.domain.tokens import CONFIRM_WITHIN, Purpose
from tests.web.site import NAME, ROOM, Site, text


def test_looking_changes_nothing_and_acting_confirms_once(site: Site) -> None:
    one = site.requested()
    path = f"/confirm/{site.links.token('confirm', one)}"
    before = site.rows()
    asked = [site.client.get(path), site.client.head(path), site.client.get(path)]
    assert [answer.status_code for answer in asked] == [200] * 3
    assert f"Vil du følge {NAME}?" in text(asked[0])
    assert text(asked[0]).count("<button") == 1
    assert site.rows() == before

    answers = [site.client.post(path), site.client.post(path)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert all(f"Nå følger du {NAME}" in text(answer) for answer in answers)
    assert site.view(one) == (True, False)
    assert [step for step, *_ in site.consents()] == ["requested", "confirmed"]
    page = site.consents()[1][2]
    assert page == f"{site.settings.base_url}/confirm"

    after = site.rows()
    again = site.client.get(path)
    assert f"Du følger allerede {NAME}" in text(again)
    assert "<button" not in text(again)
    assert site.rows() == after


def test_the_page_speaks_the_language_of_the_follower(site: Site) -> None:
    one = site.requested(locale="nn")
    path = f"/confirm/{site.links.token('confirm', one)}"
    answer = site.client.get(path, headers={"Accept-Language": "en"})
    assert "Ja, eg vil følgje" in text(answer)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_ended_subscription_is_not_confirmed_but_shown_the_way(site: Site, method: str) -> None:
    one = site.ended()
    before = site.rows()
    answer = site.client.open(f"/confirm/{site.links.token('confirm', one)}", method=method)
    assert answer.status_code == 200
    assert "Dette abonnementet er avsluttet" in text(answer)
    assert f'href="{ROOM}?locale=nb"' in text(answer)
    assert site.rows() == before


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_old_link_has_expired(site: Site, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one = site.requested()
    age = int(CONFIRM_WITHIN.total_seconds()) + 60
    timestamp = TimestampSigner.get_timestamp
    with monkeypatch.context() as earlier:
        earlier.setattr(TimestampSigner, "get_timestamp", lambda self: timestamp(self) - age)
        token = site.links.token("confirm", one)
    before = site.rows()
    answer = site.client.open(f"/confirm/{token}", method=method)
    assert answer.status_code == 410
    assert "Denne lenken er utløpt. Meld deg på igjen." in text(answer)
    assert NAME in text(answer)
    assert f'href="{ROOM}?locale=nb"' in text(answer)
    assert site.rows() == before


@pytest.mark.parametrize(
    ("page_name", "another"),
    [("confirm", "unsubscribe"), ("unsubscribe", "one-click"), ("one-click", "confirm")],
)
def test_links_that_are_not_ours_get_one_answer(
    site: Site, page_name: Purpose, another: Purpose
) -> None:
    one = site.requested()
    good = site.links.token(page_name, one)
    middle = len(good) // 2
    forged = good[:middle] + ("B" if good[middle] == "A" else "A") + good[middle + 1 :]
    truncated = [good[:-5], good[:5]]
    nonsense = ["x", "%00", "%ff", "æ", "." * 50, "x" * 5000]
    misplaced = [site.links.token(another, one), site.links.token(page_name, 10**6)]
    before = site.rows()
    for method in ("GET", "POST"):
        answers = [
            site.client.open(f"/{page_name}/{token}", method=method)
            for token in (forged, *truncated, *nonsense, *misplaced)
        ]
        assert {answer.status_code for answer in answers} == {400}
        assert len({answer.data for answer in answers}) == 1
        assert "This link is not valid." in text(answers[0])
    assert site.rows() == before
