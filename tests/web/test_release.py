"""The page of a release: what it shows, before its time, and once it was corrected or withdrawn."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.conftest import Databases
from tests.web.house import ROOM, House, house, text

NOTE = "Skuta ligger fortsatt i Bergen."


@pytest.fixture
def home(databases: Databases) -> Iterator[House]:
    """One press room; nothing here depends on the kind of database."""
    with databases.fresh("sqlite") as url, house(url) as home:
        yield home


def page(home: House, release_id: int) -> str:
    """Read the page of a release as a visitor."""
    answer = home.client.get(f"{ROOM}{release_id}")
    assert answer.status_code == 200
    return text(answer)


def test_everything_of_a_release_is_on_its_page(home: House) -> None:
    shown = page(
        home,
        home.publish(
            lead="Etter to år.",
            image={"url": "https://example.org/skute.jpg", "alt": "Skuta", "credit": "Ada Øye"},
            contacts=[{"name": "Kari Bø", "title": "Direktør", "email": "kari@example.org"}],
            documents=[{"title": "Kart (PDF)", "url": "https://example.org/kart.pdf"}],
        ),
    )
    for part in (
        *("Skuta er hjemme", "Etter to år.", "<p>Den ligger ved kai.</p>", "Foto: Ada Øye"),
        *("https://example.org/skute.jpg", "Kari Bø", "Direktør", "mailto:kari@example.org"),
        *("Kart (PDF)", "https://example.org/kart.pdf"),
    ):
        assert part in shown


def test_only_pictures_come_from_elsewhere(home: House) -> None:
    policy = home.client.get(f"{ROOM}{home.publish()}").headers["Content-Security-Policy"]
    assert "img-src 'self' https: http:" in policy
    assert "default-src 'none'" in policy
    assert "script-src" not in policy


def tomorrow() -> str:
    return (datetime.now(UTC) + timedelta(days=1)).isoformat()


@pytest.mark.parametrize("later", [{"published_at": tomorrow()}, {"hold_minutes": 60}])
def test_what_is_not_out_yet_is_not_shown(home: House, later: dict[str, Any]) -> None:
    assert home.client.get(f"{ROOM}{home.publish(**later)}").status_code == 404


@pytest.mark.parametrize("path", ["0", "99", "9223372036854775808", "../1", "1/"])
def test_what_is_not_there_is_not_found(home: House, path: str) -> None:
    assert home.client.get(f"{ROOM}{path}").status_code in (404, 308)
    assert home.client.get(f"/nobody/{home.publish()}").status_code == 404


def test_both_versions_are_shown_and_lead_to_each_other(home: House) -> None:
    # For the record, so that it is out at once and nobody need be frozen.
    first = home.publish(notify=False)
    second = home.correct(first, title="Skuta er i Bergen", note=NOTE)
    old, new = page(home, first), page(home, second)
    assert "Denne pressemeldingen er rettet." in old
    assert f"{ROOM}{second}" in old
    assert NOTE not in old
    assert "Skuta er i Bergen" in new
    assert NOTE in new
    assert f"{ROOM}{first}" in new


def test_what_is_withdrawn_says_so_on_every_version(home: House) -> None:
    first = home.publish(notify=False)
    second = home.correct(first, title="Skuta er i Bergen")
    last = home.retract(second, NOTE)
    for one in (first, second, last):
        assert "er trukket tilbake" in page(home, one)
    assert NOTE in page(home, last)
    assert "ved kai" not in page(home, last)
