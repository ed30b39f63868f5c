"""The preferences: language, pause, the other press rooms, and the link to what is known."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from mailer.domain import publishers
from mailer.domain.followers import follower_csv
from mailer.domain.outbox import LETTERS_A_DAY
from mailer.mail.locales import available, long_date
from mailer.storage.database import read_transaction
from mailer.storage.models import OutboxMessage, Subscription
from mailer.storage.types import now
from tests.conftest import on_both_databases
from tests.support.press_room import DRAFT, NAME, SLUG, PressRoom
from tests.web.pages import plainly, text

KARI = "kari@example.org"


def path_of(room: PressRoom, subscription_id: int) -> str:
    """Return the path of a follower's preferences page; its token is the unsubscribe link's."""
    return f"/manage/{room.tokens.token('unsubscribe', subscription_id)}"


def column(room: PressRoom, subscription_id: int, name: str) -> Any:
    """Read one column of a subscription."""
    with room.app.app_context(), read_transaction() as session:
        return getattr(session.get_one(Subscription, subscription_id), name)


def letters(room: PressRoom) -> list[str]:
    """Return the kinds of all letters in the outbox."""
    with room.app.app_context(), read_transaction() as session:
        return list(session.scalars(select(OutboxMessage.kind).order_by(OutboxMessage.id)))


def test_looking_shows_the_choices_and_changes_nothing(room: PressRoom) -> None:
    one = room.confirmed(KARI)
    before = room.everything()
    answer = room.client.get(path_of(room, one))
    assert answer.status_code == 200
    assert NAME in text(answer)
    assert "k…@example.org" in text(answer)
    assert KARI not in text(answer), "letters get forwarded"
    assert f"/unsubscribe/{room.tokens.token('unsubscribe', one)}" in text(answer)
    assert room.everything() == before


@pytest.mark.parametrize("locale", available())
def test_another_language_is_spoken_at_once_and_kept(room: PressRoom, locale: str) -> None:
    one = room.confirmed(locale="en" if locale == "nb" else "nb")
    for _ in range(2):
        answer = room.client.post(path_of(room, one), data={"language": locale})
        assert answer.status_code == 200
        assert f'<html lang="{locale}"' in text(answer)
        assert 'role="status"' in text(answer)
    assert column(room, one, "locale") == locale
    last = room.consents()[-1]
    assert (last.step, last.language) == ("language", locale)
    assert room.steps().count("language") == 1
    assert f'<html lang="{locale}"' in text(room.client.get(path_of(room, one)))


@on_both_databases
@pytest.mark.parametrize("weeks", [2, 4, 13])
def test_a_pause_says_until_when_and_is_taken_up_again(room: PressRoom, weeks: int) -> None:
    one = room.confirmed()
    for _ in range(2):
        answer = room.client.post(path_of(room, one), data={"pause": str(weeks)})
        assert answer.status_code == 200
    until = column(room, one, "paused_until")
    expected = now() + timedelta(weeks=weeks)
    assert expected - timedelta(days=1) < until <= expected
    assert plainly(f"Du får ingenting før {long_date(until, 'nb')}.") in text(answer)
    assert plainly(long_date(until, "nb")) in text(room.client.get(path_of(room, one)))
    for _ in range(2):
        answer = room.client.post(path_of(room, one), data={"take-up": "now"})
        assert "Du får ingenting før" not in text(answer)
    assert column(room, one, "paused_until") is None
    assert room.steps() == ["requested", "confirmed", "paused", "taken up"]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"language": "xx"},
        {"language": "../nb"},
        {"pause": "3"},
        {"pause": "-2"},
        {"pause": "٢"},
        {"pause": "2", "language": "nn"},
        {"paused_until": "2099-01-01"},
    ],
)
def test_what_no_button_says_changes_nothing(room: PressRoom, fields: dict[str, str]) -> None:
    one = room.confirmed()
    before = room.everything()
    assert room.client.post(path_of(room, one), data=fields).status_code == 400
    assert room.everything() == before


@on_both_databases
def test_every_other_press_room_has_a_link_to_its_own_choices(room: PressRoom) -> None:
    one = room.confirmed(KARI)
    with room.app.app_context():
        for slug in ("fjellavisa", "byavisa"):
            draft = publishers.PublisherDraft(slug, slug.title(), DRAFT.from_address, "nn")
            publishers.add(draft)
        follower_csv.import_followers("fjellavisa", ["address", KARI], locales=("nn",))
        follower_csv.import_followers("byavisa", ["address", "ola@example.org"], locales=("nn",))
    page = text(room.client.get(path_of(room, one)))
    assert "Byavisa" not in page
    link = re.search(r'href="(/manage/[^"]+)">Fjellavisa<', page)
    assert link is not None
    there = text(room.client.get(link[1]))
    assert "Fjellavisa" in there
    assert NAME in there, "and back"


def test_who_has_left_is_shown_the_way_back_and_may_choose_nothing(room: PressRoom) -> None:
    one = room.ended()
    before = room.everything()
    for fields in (None, {"language": "nn"}, {"pause": "2"}, {"take-up": "now"}):
        method = "GET" if fields is None else "POST"
        answer = room.client.open(path_of(room, one), method=method, data=fields)
        assert answer.status_code == 200
        assert 'name="action" value="undo"' in text(answer)
    assert room.everything() == before


def test_who_has_left_may_still_see_what_is_known_and_have_it_deleted(room: PressRoom) -> None:
    one = room.ended()
    assert 'name="data"' in text(room.client.get(path_of(room, one)))
    answer = room.client.post(path_of(room, one), data={"data": "link"})
    assert "24 timer" in text(answer)
    assert letters(room)[-1] == "manage"
    # The way out shows the way back, and nothing more.
    way_out = f"/unsubscribe/{room.tokens.token('unsubscribe', one)}"
    assert 'name="data"' not in text(room.client.get(way_out))


def test_the_link_to_what_is_known_goes_by_mail_and_not_too_often(room: PressRoom) -> None:
    one = room.confirmed()
    answers = [room.client.post(path_of(room, one), data={"data": "link"}) for _ in range(9)]
    assert {answer.status_code for answer in answers} == {200}
    assert len({text(answer) for answer in answers}) == 1, "the answer depends on nothing"
    assert "/your-data/" not in text(answers[0])
    assert letters(room) == ["confirm", "welcome", *["manage"] * (LETTERS_A_DAY - 2)]


def test_a_mailbox_that_does_not_exist_gets_no_link(room: PressRoom) -> None:
    one = room.confirmed(KARI)
    usual = room.client.post(path_of(room, one), data={"data": "link"})
    room.suppress(KARI)
    answer = room.client.post(path_of(room, one), data={"data": "link"})
    assert text(answer) == text(usual)
    assert letters(room).count("manage") == 1


@pytest.mark.parametrize("purpose", ["confirm", "access", "one-click"])
def test_no_other_token_leads_here(room: PressRoom, purpose: Any) -> None:
    one = room.confirmed()
    answer = room.client.get(f"/manage/{room.tokens.token(purpose, one)}")
    assert answer.status_code == 400


@on_both_databases
def test_leaving_undoing_and_leaving_again_says_goodbye_each_time_but_not_without_end(
    room: PressRoom,
) -> None:
    one = room.confirmed()
    path = f"/unsubscribe/{room.tokens.token('unsubscribe', one)}"
    for _ in range(LETTERS_A_DAY):
        assert room.client.post(path).status_code == 200
        assert room.view(one) == (True, True)
        assert room.client.post(path, data={"action": "undo"}).status_code == 200
        assert room.view(one) == (True, False)
    assert letters(room).count("goodbye") == LETTERS_A_DAY - 2


def test_the_welcome_shows_the_choices_and_the_latest_release(room: PressRoom) -> None:
    one = room.sign_up()
    path = f"/confirm/{room.tokens.token('confirm', one)}"
    assert "Siste pressemelding" not in text(room.client.post(path))
    old = room.publish(reference="eldre", title="Skuta er borte")
    page = text(room.client.get(path))
    assert f'href="/{SLUG}/{old}"' in page
    assert "Skuta er borte" in page
    new = room.correct(old, title="Skuta er hjemme")
    page = text(room.client.get(path))
    assert f'href="/{SLUG}/{new}"' in page
    assert "Skuta er borte" not in page
    assert f'href="{path_of(room, one)}"' in page


NEW = "kari@new.example.org"


def test_another_address_is_asked_and_then_gets_the_letters(room: PressRoom) -> None:
    one = room.confirmed(KARI)
    answer = room.client.post(path_of(room, one), data={"address": NEW})
    assert answer.status_code == 200
    assert "Sjekk innboksen til" in plainly(text(answer))
    assert NEW in text(answer)
    assert "k…@example.org" in text(answer), "until the button is pressed"
    link = f"/move/{room.move_token()}"
    page = room.client.get(link)
    assert NAME in text(page)
    assert room.open_subscriptions(KARI) == [one]
    for _ in range(2):
        done = room.client.post(link)
        assert done.status_code == 200
        assert "k…@new.example.org" in text(done)
    assert room.open_subscriptions(NEW) == [one]
    assert room.letters("move", "moved") == ["move", "moved"]
    again = room.client.get(path_of(room, one))
    assert "k…@new.example.org" in text(again)


def test_a_slip_in_another_address_is_asked_about_first(room: PressRoom) -> None:
    one = room.confirmed(KARI)
    slip = {"address": "kari@gmial.com", "everywhere": "1"}
    answer = room.client.post(path_of(room, one), data=slip)
    assert "Mente du kari@gmail.com?" in plainly(text(answer))
    assert answer.get_data(as_text=True).count('name="everywhere"') == 2
    assert room.letters("move") == []
    room.client.post(path_of(room, one), data={**slip, "as-typed": "1"})
    assert room.letters("move") == ["move"]


@pytest.mark.parametrize("typed", ["", "kari", "kari@x, ola@y", "kari@example.org\r\nBcc: a@b.no"])
def test_what_is_no_address_is_shown_again_with_a_sentence(room: PressRoom, typed: str) -> None:
    one = room.confirmed(KARI)
    answer = room.client.post(path_of(room, one), data={"address": typed})
    assert answer.status_code == 422
    assert 'role="alert"' in text(answer)
    assert room.letters("move") == []


def test_the_answer_does_not_tell_whether_another_address_is_known(room: PressRoom) -> None:
    room.confirmed("ola@example.org")
    room.confirmed("ada@example.org")
    room.suppress("ada@example.org")
    one = room.confirmed(KARI)
    pages = [
        text(room.client.post(path_of(room, one), data={"address": typed})).replace(typed, "")
        for typed in ("ola@example.org", "ada@example.org", "liv@example.org")
    ]
    assert len(set(pages)) == 1


def test_who_waits_to_confirm_is_offered_no_other_address(room: PressRoom) -> None:
    page = text(room.client.get(path_of(room, room.sign_up(KARI))))
    assert 'name="address"' not in page


def test_beyond_its_letters_of_a_day_a_mailbox_is_asked_no_more(room: PressRoom) -> None:
    one = room.confirmed(KARI)
    for _ in range(2):
        room.client.post(path_of(room, one), data={"address": NEW})
    answer = room.client.post(path_of(room, one), data={"address": NEW})
    assert answer.status_code == 422
    assert "brukt opp" in plainly(text(answer))
    assert room.letters("move") == ["move"] * 2
