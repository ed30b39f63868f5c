"""The page on privacy: the standing text, and what the press room adds."""

from __future__ import annotations

import re

import pytest

from mailer.mail.locales import available
from tests.web.house import NAME, ROOM, House, text

PRIVACY = f"{ROOM}privacy"


def test_a_press_room_completes_the_standing_text(home: House) -> None:
    before = text(home.client.get(PRIVACY))
    assert "Grunnlaget er samtykket ditt" in before
    assert f'<p>{NAME}, <a href="mailto:presse@example.org">' in before
    home.furnish(privacy="Fjord & Fjell AS svarer.\n\nOmbud: <Ola>.")
    answer = home.client.get(PRIVACY)
    assert "Fjord &amp; Fjell AS svarer.</p>" in answer.text
    assert "Ombud: &lt;Ola&gt;.</p>" in answer.text


@pytest.mark.parametrize("locale", available())
def test_it_is_there_in_every_language_and_says_the_same(home: House, locale: str) -> None:
    page = text(home.client.get(f"{PRIVACY}?locale={locale}"))
    assert f'<html lang="{locale}"' in page
    assert "30 " in page
    assert len(re.findall("<h2>", page)) == 5


def test_every_follow_box_leads_to_it(home: House) -> None:
    for path in (ROOM, f"{ROOM}embed", f"{ROOM}{home.publish(notify=False)}"):
        assert f'href="{PRIVACY}"' in text(home.client.get(path))
    mistaken = home.client.post(f"{ROOM}follow", data={"address": "kari"})
    assert f'href="{PRIVACY}"' in text(mistaken)


def test_the_privacy_of_nobody_is_not_there(home: House) -> None:
    assert home.client.get("/nobody/privacy").status_code == 404
