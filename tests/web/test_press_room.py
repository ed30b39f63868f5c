"""The press room's page: who they are, what is new, in pages, and what a browser loads for it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from sqlalchemy import event

from mailer.storage.database import db
from tests.web.site import NAME, ROOM, Site, answering, text

if TYPE_CHECKING:
    from playwright.sync_api import Page

LARGEST_PAGE = 60_000
ADA = {"name": "Ada Ås", "title": "leder", "email": "ada@example.org", "phone": "+47 00 00 00 01"}


def titles(site: Site, path: str = ROOM) -> list[str]:
    """Return the releases that a page lists."""
    answer = site.client.get(path)
    assert answer.status_code == 200
    links = re.findall(rf'<a href="{ROOM}\d+">(.*?)</a>', text(answer))
    return [re.sub("<[^>]+>", "", link) for link in links]


def fill(site: Site, number: int) -> None:
    """Publish releases on the days before today, the newest first."""
    today = datetime.now(UTC)
    for day in range(1, number + 1):
        moment = (today - timedelta(days=day)).isoformat()
        site.publish(reference=f"r{day}", title=f"Nytt {day}", notify=False, published_at=moment)


def test_a_press_room_says_who_it_is_and_whom_to_ask(site: Site) -> None:
    site.add_branding(about="Vi skriver om <kysten>.\n\nOg havet.", contacts=[ADA])
    answer = site.client.get(ROOM)
    page = text(answer)
    assert f"<h1>{NAME}</h1>" in page
    assert "Vi skriver om &lt;kysten&gt;.</p>" in answer.text
    assert "Og havet.</p>" in page
    assert "Ada Ås, leder" in page
    assert 'href="mailto:ada@example.org"' in page
    assert 'href="tel:+4700000001"' in page
    for link in ("feed.atom", "privacy", "embed/code"):
        assert f'href="{ROOM}{link}"' in page


def test_a_room_without_releases_says_so(site: Site) -> None:
    assert "Ingen pressemeldinger ennå." in text(site.client.get(ROOM))


def test_releases_come_newest_first_ten_a_page(site: Site) -> None:
    fill(site, 21)
    pages = [titles(site, f"{ROOM}?page={number}") for number in (1, 2, 3)]
    assert pages == [
        [f"Nytt {day}" for day in days] for days in (range(1, 11), range(11, 21), (21,))
    ]
    first, second, last = (text(site.client.get(f"{ROOM}?page={one}")) for one in (1, 2, 3))
    assert 'rel="prev"' not in first
    assert f'rel="next" href="{ROOM}?page=2"' in first
    assert f'rel="prev" href="{ROOM}"' in second
    assert f'rel="next" href="{ROOM}?page=3"' in second
    assert f'rel="prev" href="{ROOM}?page=2"' in last
    assert 'rel="next"' not in last
    assert f'rel="canonical" href="{site.settings.base_url}{ROOM}?page=2"' in second


def test_a_full_page_has_no_older_one(site: Site) -> None:
    fill(site, 10)
    assert len(titles(site)) == 10
    assert 'rel="next"' not in text(site.client.get(ROOM))


@pytest.mark.parametrize("page", ["0", "2", "-1", "01", "x", "", "1.0", "999999", "9" * 30, "%00"])
def test_a_page_that_is_not_there_is_missed_politely(site: Site, page: str) -> None:
    assert site.client.get(f"{ROOM}?page={page}").status_code == 404


def test_a_release_has_its_date_and_its_lead(site: Site) -> None:
    site.publish(lead="Den seilte <lenge>.", notify=False, published_at="2025-11-13T23:30:00-09:00")
    answer = site.client.get(ROOM)
    assert ">13. november 2025</time>" in text(answer)
    assert ">Den seilte &lt;lenge&gt;.</p>" in answer.text


def test_only_the_newest_version_is_listed(site: Site) -> None:
    first = site.publish(notify=False)
    site.publish(reference="annen", title="En annen", notify=False)
    second = site.correct(first, title="Skuta er i Bergen")
    site.correct(second, title="Skuta er i Stavanger")
    assert sorted(titles(site)) == ["En annen", "Skuta er i Stavanger"]


def test_what_is_withdrawn_is_marked_and_says_no_more(site: Site) -> None:
    site.retract(site.publish(notify=False, lead="Aldri sett maken."), "Feil.")
    assert titles(site) == ["Trukket tilbake: Skuta er hjemme"]
    assert "Aldri sett maken" not in text(site.client.get(ROOM))


def test_what_is_not_out_yet_is_not_listed(site: Site) -> None:
    later = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    site.publish(reference="a", published_at=later)
    site.publish(reference="b", hold_minutes=60)
    assert titles(site) == []


def test_whoever_has_the_page_is_told_that_it_is_still_good(site: Site) -> None:
    site.publish(notify=False)
    answer = site.client.get(ROOM)
    assert answer.headers["Cache-Control"] == "public, max-age=60"
    known = {"If-None-Match": answer.headers["ETag"]}
    dated = {"If-Modified-Since": answer.headers["Last-Modified"]}
    for have in (known, dated, known | dated):
        again = site.client.get(ROOM, headers=have)
        assert (again.status_code, again.data) == (304, b"")
        assert again.headers["ETag"] == answer.headers["ETag"]
    for other in (f"{ROOM}?locale=nn", f"{ROOM}?locale=en"):
        assert site.client.get(other, headers=known).status_code == 200


def test_whoever_has_an_old_page_gets_the_new_one(site: Site) -> None:
    first = site.publish(notify=False)
    seen: set[str] = set()

    def changed() -> bool:
        """Tell whether the page differs from all that were seen before."""
        answer = site.client.get(ROOM, headers={"If-None-Match": ", ".join(sorted(seen))})
        seen.add(answer.headers["ETag"])
        return answer.status_code == 200

    assert changed()
    assert not changed()
    site.add_branding(about="Vi skriver om kysten.")
    assert changed()
    second = site.correct(first, title="Skuta er i Bergen")
    assert changed()
    site.retract(second, "Feil.")
    assert changed()
    assert not changed()


def test_the_page_costs_few_statements(site: Site) -> None:
    """However many releases there are: the press room, and a page of them."""
    fill(site, 12)
    asked: list[str] = []

    def note(*told: Any) -> None:
        asked.append(told[2])

    with site.app.app_context():
        engine = db.engine
    event.listen(engine, "before_cursor_execute", note)
    site.client.get(ROOM)
    event.remove(engine, "before_cursor_execute", note)
    assert len([one for one in asked if one.startswith("SELECT")]) == 2


def test_a_browser_loads_the_page_and_one_stylesheet_from_us_alone(site: Site, page: Page) -> None:
    site.add_branding(
        about="Kysten. " * 200, contacts=[ADA] * 20, logo_url="https://logo.example/logo.png"
    )
    picture = {"url": "https://picture.example/1.jpg", "alt": "Skuta"}
    for number in range(11):
        site.publish(
            reference=f"r{number}", notify=False, lead="Æ" * 2_000, image=picture, title="Å" * 255
        )
    said, asked, octets = [], [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("request", lambda request: asked.append(request.url))
    page.on("response", lambda response: octets.append(len(response.body())))
    base = site.settings.base_url
    port = urlsplit(base).port
    assert port is not None
    with answering(site.app, port):
        page.goto(base + ROOM, wait_until="networkidle")
    assert said == []
    assert [one for one in asked if not one.startswith(base)] == []
    assert len(asked) >= 2
    assert sum(octets) <= LARGEST_PAGE
