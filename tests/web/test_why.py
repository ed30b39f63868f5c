"""Why somebody did not get a press release: one page answers, by their own link."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import update

from mailer.domain.followers import preferences
from mailer.fanout.freeze import freeze_next
from mailer.storage.database import transaction
from mailer.storage.models import Batch, Outcome, Uncertain
from mailer.storage.types import now
from tests.conftest import on_both_databases
from tests.support.press_room import ADA, EVIDENCE, KARI, PressRoom
from tests.web.pages import text


def page(room: PressRoom, one: int) -> str:
    """Open the page by a link in a letter."""
    answer = room.client.get(f"/why/{room.tokens.token('unsubscribe', one)}")
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    return text(answer)


def test_it_is_reached_from_the_preferences(room: PressRoom) -> None:
    one = room.confirmed(KARI)
    manage = text(room.client.get(f"/manage/{room.tokens.token('unsubscribe', one)}"))
    assert f"/why/{room.tokens.token('unsubscribe', one)}" in manage


@on_both_databases
@pytest.mark.parametrize(
    ("past", "sentence"),
    [
        ("confirmed", "og ingenting er i veien"),
        ("sign_up", "Du har ikke bekreftet ennå."),
        ("ended", "Du følger ikke lenger"),
        ("paused", "Du har tatt pause"),
        ("suppressed", "at denne postkassen ikke finnes"),
        ("erased", "Vi vet ikke lenger noe om deg"),
    ],
)
def test_it_says_what_is_in_the_way(room: PressRoom, past: str, sentence: str) -> None:
    make = {"sign_up": room.sign_up, "ended": room.ended}.get(past, room.confirmed)
    one = make(KARI)
    with room.app.app_context():
        if past == "paused":
            preferences.pause(one, 4, EVIDENCE)
        elif past == "suppressed":
            room.suppress(KARI)
        elif past == "erased":
            room.erase(one)
    assert sentence in page(room, one)


@on_both_databases
def test_it_tells_what_became_of_each_release(room: PressRoom) -> None:
    ada, kari = room.confirmed(ADA), room.confirmed(KARI)
    titles = ["Tatt imot", "Venter", "Avvist", "To ganger"]
    ids = [room.publish(title=title) for title in titles]
    with room.app.app_context(), transaction() as session:
        for _ in ids:
            freeze_next(session, 1)
        for one in (ids[0], ids[3]):
            session.execute(
                update(Batch).where(Batch.release_id == one).values(position=Batch.size)
            )
        moment = now() - timedelta(hours=1)
        row = {"subscription_id": kari, "at": moment}
        session.add(Outcome(release_id=ids[2], kind="refused", reason="5.1.1", **row))
        session.add(Uncertain(release_id=ids[3], reason="lease", **row))
    html = page(room, kari)
    told_of = [
        *("tatt imot av e-posttjeneren din; utsendingen begynte", "ikke tatt imot ennå"),
        *("(5.1.1)", "kanskje sendt to ganger"),
    ]
    for title, told in zip(titles, told_of, strict=True):
        assert any(title in line and told in line for line in html.split("<li>")), title
    assert "(5.1.1)" not in page(room, ada)


def test_what_is_known_is_told_in_sentences(room: PressRoom) -> None:
    one = room.confirmed(KARI)
    release_id = room.publish(title="Skuta er hjemme")
    with room.app.app_context(), transaction() as session:
        freeze_next(session, 1)
        session.execute(update(Batch).values(position=Batch.size))
    html = text(room.client.get(f"/your-data/{room.tokens.token('access', one)}"))
    for sentence in ("Du meldte deg på", "Du bekreftet", "Med disse ordene spurte vi deg:"):
        assert sentence in html
    assert "Registrer deg med din e-postadresse under" in html
    assert "tatt imot av e-posttjeneren din" in html
    assert f'"release_id": {release_id}' in html[html.index("<pre") :]
