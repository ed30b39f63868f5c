"""The press room's page: who they are, what is new, in pages, and what a browser loads for it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from sqlalchemy import event

from mailer.storage.database import db
from tests.conftest import on_both_databases
from tests.support.press_room import NAME, PressRoom
from tests.web.pages import ROOM, answering, text

if TYPE_CHECKING:
    from playwright.sync_api import Page

LARGEST_PAGE = 60_000
ADA = {"name": "Ada Ås", "title": "leder", "email": "ada@example.org", "phone": "+47 00 00 00 01"}


def titles(room: PressRoom, path: str = ROOM) -> list[str]:
    """Return the releases that a page lists."""
    answer = room.client.get(path)
    assert answer.status_code == 200
    links = re.findall(rf'<a href="{ROOM}\d+">(.*?)</a>', text(answer))
    return [re.sub("<[^>]+>", "", link) for link in links]


def fill(room: PressRoom, number: int) -> None:
    """Publish releases on the days before today, the newest first."""
    today = datetime.now(UTC)
    for day in range(1, number + 1):
        moment = (today - timedelta(days=day)).isoformat()
        room.publish(reference=f"r{day}", title=f"Nytt {day}", notify=False, published_at=moment)


def test_a_press_room_says_who_it_is_and_whom_to_ask(room: PressRoom) -> None:
    room.change_branding(about="Vi skriver om <kysten>.\n\nOg havet.", contacts=[ADA])
    answer = room.client.get(ROOM)
    page = text(answer)
    assert f"<h1>{NAME}</h1>" in page
    assert "Vi skriver om &lt;kysten&gt;.</p>" in answer.text
    assert "Og havet.</p>" in page
    assert "Ada Ås, leder" in page
    assert 'href="mailto:ada@example.org"' in page
    assert 'href="tel:+4700000001"' in page
    for link in ("feed.atom", "privacy", "embed/code"):
        assert f'href="{ROOM}{link}"' in page


def test_a_room_without_releases_says_so(room: PressRoom) -> None:
    assert "Ingen pressemeldinger ennå." in text(room.client.get(ROOM))


@on_both_databases
def test_releases_come_newest_first_ten_a_page(room: PressRoom) -> None:
    fill(room, 21)
    pages = [titles(room, f"{ROOM}?page={number}") for number in (1, 2, 3)]
    assert pages == [
        [f"Nytt {day}" for day in days] for days in (range(1, 11), range(11, 21), (21,))
    ]
    first, second, last = (text(room.client.get(f"{ROOM}?page={one}")) for one in (1, 2, 3))
    assert 'rel="prev"' not in first
    assert f'rel="next" href="{ROOM}?page=2"' in first
    assert f'rel="prev" href="{ROOM}"' in second
    assert f'rel="next" href="{ROOM}?page=3"' in second
    assert f'rel="prev" href="{ROOM}?page=2"' in last
    assert 'rel="next"' not in last
    assert f'rel="canonical" href="{room.settings.base_url}{ROOM}?page=2"' in second


def test_a_full_page_has_no_older_one(room: PressRoom) -> None:
    fill(room, 10)
    assert len(titles(room)) == 10
    assert 'rel="next"' not in text(room.client.get(ROOM))


@pytest.mark.parametrize("page", ["0", "2", "-1", "01", "x", "", "1.0", "999999", "9" * 30, "%00"])
def test_a_page_that_is_not_there_is_missed_politely(room: PressRoom, page: str) -> None:
    assert room.client.get(f"{ROOM}?page={page}").status_code == 404


def test_a_release_has_its_date_and_its_lead(room: PressRoom) -> None:
    room.publish(lead="Den seilte <lenge>.", notify=False, published_at="2025-11-13T23:30:00-09:00")
    answer = room.client.get(ROOM)
    assert ">13. november 2025</time>" in text(answer)
    assert ">Den seilte &lt;lenge&gt;.</p>" in answer.text


@on_both_databases
def test_only_the_newest_version_is_listed(room: PressRoom) -> None:
    first = room.publish(notify=False)
    room.publish(reference="annen", title="En annen", notify=False)
    second = room.correct(first, title="Skuta er i Bergen")
    room.correct(second, title="Skuta er i Stavanger")
    assert sorted(titles(room)) == ["En annen", "Skuta er i Stavanger"]


def test_what_is_withdrawn_is_marked_and_says_no_more(room: PressRoom) -> None:
    room.retract(room.publish(notify=False, lead="Aldri sett maken."), "Feil.")
    assert titles(room) == ["Trukket tilbake: Skuta er hjemme"]
    assert "Aldri sett maken" not in text(room.client.get(ROOM))


def test_what_is_not_out_yet_is_not_listed(room: PressRoom) -> None:
    later = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    room.publish(reference="a", published_at=later)
    room.publish(reference="b", hold_minutes=60)
    assert titles(room) == []


def test_whoever_has_the_page_is_told_that_it_is_still_good(room: PressRoom) -> None:
    room.publish(notify=False)
    answer = room.client.get(ROOM)
    assert answer.headers["Cache-Control"] == "public, max-age=60"
    known = {"If-None-Match": answer.headers["ETag"]}
    dated = {"If-Modified-Since": answer.headers["Last-Modified"]}
    for have in (known, dated, known | dated):
        again = room.client.get(ROOM, headers=have)
        assert (again.status_code, again.data) == (304, b"")
        assert again.headers["ETag"] == answer.headers["ETag"]
    for other in (f"{ROOM}?locale=nn", f"{ROOM}?locale=en"):
        assert room.client.get(other, headers=known).status_code == 200


def test_whoever_has_an_old_page_gets_the_new_one(room: PressRoom) -> None:
    first = room.publish(notify=False)
    seen: set[str] = set()

    def changed() -> bool:
        """Tell whether the page differs from all that were seen before."""
        answer = room.client.get(ROOM, headers={"If-None-Match": ", ".join(sorted(seen))})
        seen.add(answer.headers["ETag"])
        return answer.status_code == 200

    assert changed()
    assert not changed()
    room.change_branding(about="Vi skriver om kysten.")
    assert changed()
    second = room.correct(first, title="Skuta er i Bergen")
    assert changed()
    room.retract(second, "Feil.")
    assert changed()
    assert not changed()


@on_both_databases
def test_the_page_costs_few_statements(room: PressRoom) -> None:
    """However many releases there are: the press room, a page of them, and their content."""
    fill(room, 12)
    asked: list[str] = []

    def note(*told: Any) -> None:
        asked.append(told[2])

    with room.app.app_context():
        engine = db.engine
    event.listen(engine, "before_cursor_execute", note)
    room.client.get(ROOM)
    event.remove(engine, "before_cursor_execute", note)
    assert len([one for one in asked if one.startswith("SELECT")]) == 3


def test_a_browser_loads_the_page_and_one_stylesheet_from_us_alone(
    room: PressRoom, page: Page
) -> None:
    room.change_branding(
        about="Kysten. " * 200, contacts=[ADA] * 20, logo_url="https://logo.example/logo.png"
    )
    picture = {"url": "https://picture.example/1.jpg", "alt": "Skuta"}
    for number in range(11):
        room.publish(
            reference=f"r{number}", notify=False, lead="Æ" * 2_000, image=picture, title="Å" * 255
        )
    said, asked, octets = [], [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("request", lambda request: asked.append(request.url))
    page.on("response", lambda response: octets.append(len(response.body())))
    base = room.settings.base_url
    port = urlsplit(base).port
    assert port is not None
    with answering(room.app, port):
        page.goto(base + ROOM, wait_until="networkidle")
    assert said == []
    assert [one for one in asked if not one.startswith(base)] == []
    assert len(asked) >= 2
    assert sum(octets) <= LARGEST_PAGE
