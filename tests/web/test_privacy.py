"""The page on privacy: the standing text, and what the press room adds."""

from __future__ import annotations

import re

import pytest

from mailer.mail.locales import available
from tests.support.press_room import NAME, PressRoom
from tests.web.pages import ROOM, text

PRIVACY = f"{ROOM}privacy"


def test_a_press_room_completes_the_standing_text(room: PressRoom) -> None:
    before = text(room.client.get(PRIVACY))
    assert "Grunnlaget er samtykket ditt" in before
    assert f'<p>{NAME}, <a href="mailto:presse@example.org">' in before
    room.change_branding(privacy="Fjord & Fjell AS svarer.\n\nOmbud: <Ola>.")
    answer = room.client.get(PRIVACY)
    assert "Fjord &amp; Fjell AS svarer.</p>" in answer.text
    assert "Ombud: &lt;Ola&gt;.</p>" in answer.text


@pytest.mark.parametrize("locale", available())
def test_it_is_there_in_every_language_and_says_the_same(room: PressRoom, locale: str) -> None:
    page = text(room.client.get(f"{PRIVACY}?locale={locale}"))
    assert f'<html lang="{locale}"' in page
    assert "30 " in page
    assert len(re.findall("<h2>", page)) == 5


def test_every_follow_box_leads_to_it(room: PressRoom) -> None:
    for path in (ROOM, f"{ROOM}embed", f"{ROOM}{room.publish(notify=False)}"):
        assert f'href="{PRIVACY}"' in text(room.client.get(path))
    mistaken = room.client.post(f"{ROOM}follow", data={"address": "kari"})
    assert f'href="{PRIVACY}"' in text(mistaken)


def test_the_privacy_of_nobody_is_not_there(room: PressRoom) -> None:
    assert room.client.get("/nobody/privacy").status_code == 404
