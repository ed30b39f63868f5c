"""The choices: language, pause, the other press rooms, and the link to what is known."""

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
from tests.web.house import NAME, ROOM_DRAFT, SLUG, House, text

KARI = "kari@example.org"


def path_of(home: House, subscription_id: int) -> str:
    """Return where somebody finds their choices: the token is that of the way out."""
    return f"/manage/{home.links.token('unsubscribe', subscription_id)}"


def column(home: House, subscription_id: int, name: str) -> Any:
    """Read one column of a subscription."""
    with home.app.app_context(), read_transaction() as session:
        return getattr(session.get_one(Subscription, subscription_id), name)


def letters(home: House) -> list[str]:
    """Return the kinds of all letters in the outbox."""
    with home.app.app_context(), read_transaction() as session:
        return list(session.scalars(select(OutboxMessage.kind).order_by(OutboxMessage.id)))


def steps(home: House) -> list[str]:
    """Return the steps that are proven, oldest first."""
    return [step for step, *_ in home.consents()]


def test_looking_shows_the_choices_and_changes_nothing(home: House) -> None:
    one = home.confirmed(KARI)
    before = home.rows()
    answer = home.client.get(path_of(home, one))
    assert answer.status_code == 200
    assert NAME in text(answer)
    assert "k…@example.org" in text(answer)
    assert KARI not in text(answer), "letters get forwarded"
    assert f"/unsubscribe/{home.links.token('unsubscribe', one)}" in text(answer)
    assert home.rows() == before


@pytest.mark.parametrize("locale", available())
def test_another_language_is_spoken_at_once_and_kept(home: House, locale: str) -> None:
    one = home.confirmed(locale="en" if locale == "nb" else "nb")
    for _ in range(2):
        answer = home.client.post(path_of(home, one), data={"language": locale})
        assert answer.status_code == 200
        assert f'<html lang="{locale}"' in text(answer)
        assert 'role="status"' in text(answer)
    assert column(home, one, "locale") == locale
    assert home.consents()[-1][:2] == ("language", locale)
    assert steps(home).count("language") == 1
    assert f'<html lang="{locale}"' in text(home.client.get(path_of(home, one)))


@pytest.mark.parametrize("weeks", [2, 4, 13])
def test_a_pause_says_until_when_and_is_taken_up_again(home: House, weeks: int) -> None:
    one = home.confirmed()
    for _ in range(2):
        answer = home.client.post(path_of(home, one), data={"pause": str(weeks)})
        assert answer.status_code == 200
    until = column(home, one, "paused_until")
    expected = now() + timedelta(weeks=weeks)
    assert expected - timedelta(days=1) < until <= expected
    assert f"Du får ingenting før {long_date(until, 'nb')}." in text(answer)
    assert long_date(until, "nb") in text(home.client.get(path_of(home, one)))
    for _ in range(2):
        answer = home.client.post(path_of(home, one), data={"take-up": "now"})
        assert "Du får ingenting før" not in text(answer)
    assert column(home, one, "paused_until") is None
    assert steps(home) == ["requested", "confirmed", "paused", "taken up"]


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
def test_what_no_button_says_changes_nothing(home: House, fields: dict[str, str]) -> None:
    one = home.confirmed()
    before = home.rows()
    assert home.client.post(path_of(home, one), data=fields).status_code == 400
    assert home.rows() == before


def test_every_other_press_room_has_a_link_to_its_own_choices(home: House) -> None:
    one = home.confirmed(KARI)
    with home.app.app_context():
        for slug in ("fjellavisa", "byavisa"):
            draft = publishers.PublisherDraft(slug, slug.title(), ROOM_DRAFT.from_address, "nn")
            publishers.add(draft)
        follower_csv.import_followers("fjellavisa", ["address", KARI], locales=("nn",))
        follower_csv.import_followers("byavisa", ["address", "ola@example.org"], locales=("nn",))
    page = text(home.client.get(path_of(home, one)))
    assert "Byavisa" not in page
    link = re.search(r'href="(/manage/[^"]+)">Fjellavisa<', page)
    assert link is not None
    there = text(home.client.get(link[1]))
    assert "Fjellavisa" in there
    assert NAME in there, "and back"


def test_who_has_left_is_shown_the_way_back_and_may_choose_nothing(home: House) -> None:
    one = home.ended()
    before = home.rows()
    for fields in (None, {"language": "nn"}, {"pause": "2"}, {"take-up": "now"}):
        method = "GET" if fields is None else "POST"
        answer = home.client.open(path_of(home, one), method=method, data=fields)
        assert answer.status_code == 200
        assert 'name="action" value="undo"' in text(answer)
    assert home.rows() == before


def test_who_has_left_may_still_see_what_is_known_and_have_it_deleted(home: House) -> None:
    one = home.ended()
    assert 'name="data"' in text(home.client.get(path_of(home, one)))
    answer = home.client.post(path_of(home, one), data={"data": "link"})
    assert "24 timer" in text(answer)
    assert letters(home)[-1] == "manage"
    # The way out shows the way back, and nothing more.
    way_out = f"/unsubscribe/{home.links.token('unsubscribe', one)}"
    assert 'name="data"' not in text(home.client.get(way_out))


def test_the_link_to_what_is_known_goes_by_mail_and_not_too_often(home: House) -> None:
    one = home.confirmed()
    answers = [home.client.post(path_of(home, one), data={"data": "link"}) for _ in range(9)]
    assert {answer.status_code for answer in answers} == {200}
    assert len({text(answer) for answer in answers}) == 1, "the answer depends on nothing"
    assert "/your-data/" not in text(answers[0])
    assert letters(home) == ["confirm", "welcome", *["manage"] * (LETTERS_A_DAY - 2)]


def test_a_mailbox_that_does_not_exist_gets_no_link(home: House) -> None:
    one = home.confirmed(KARI)
    usual = home.client.post(path_of(home, one), data={"data": "link"})
    home.suppress(KARI)
    answer = home.client.post(path_of(home, one), data={"data": "link"})
    assert text(answer) == text(usual)
    assert letters(home).count("manage") == 1


@pytest.mark.parametrize("purpose", ["confirm", "access", "one-click"])
def test_no_other_token_leads_here(home: House, purpose: Any) -> None:
    one = home.confirmed()
    answer = home.client.get(f"/manage/{home.links.token(purpose, one)}")
    assert answer.status_code == 400


def test_leaving_undoing_and_leaving_again_says_goodbye_each_time_but_not_without_end(
    home: House,
) -> None:
    one = home.confirmed()
    path = f"/unsubscribe/{home.links.token('unsubscribe', one)}"
    for _ in range(LETTERS_A_DAY):
        assert home.client.post(path).status_code == 200
        assert home.view(one) == (True, True)
        assert home.client.post(path, data={"action": "undo"}).status_code == 200
        assert home.view(one) == (True, False)
    assert letters(home).count("goodbye") == LETTERS_A_DAY - 2


def test_the_welcome_shows_the_choices_and_the_latest_release(home: House) -> None:
    one = home.requested()
    path = f"/confirm/{home.links.token('confirm', one)}"
    assert "Siste pressemelding" not in text(home.client.post(path))
    old = home.publish(reference="eldre", title="Skuta er borte")
    page = text(home.client.get(path))
    assert f'href="/{SLUG}/{old}"' in page
    assert "Skuta er borte" in page
    new = home.correct(old, title="Skuta er hjemme")
    page = text(home.client.get(path))
    assert f'href="/{SLUG}/{new}"' in page
    assert "Skuta er borte" not in page
    assert f'href="{path_of(home, one)}"' in page
