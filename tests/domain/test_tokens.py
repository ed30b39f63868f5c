"""Links carry one right each, and only those that were made here."""

from __future__ import annotations

import string
from datetime import timedelta
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from itsdangerous import TimestampSigner

from mailer.config import Settings
from mailer.domain.tokens import Purpose, Tokens
from mailer.errors import ExpiredLink, InvalidLink
from tests.service import contract

PURPOSES: tuple[Purpose, ...] = get_args(Purpose)
KEYS = [f"key number {number} of the press room's own" for number in range(4)]
"""The newest first, as SECRET_KEYS wants them."""
TIMED: list[tuple[Purpose, int]] = [("confirm", 48), ("access", 24)]
"""The hours that a link lives which does what cannot be undone."""
SIGNED_AT = 1_800_000_000
KARIS = 4711


def links(*keys: str) -> Tokens:
    variables = contract(database_url="sqlite:///x", redis_url="", smtp_url="smtp://127.0.0.1")
    return Tokens(Settings.from_environment(variables | {"SECRET_KEYS": ",".join(keys or KEYS)}))


def at(monkeypatch: pytest.MonkeyPatch, age: timedelta) -> None:
    """Let itsdangerous believe that so much time has passed since SIGNED_AT."""
    moment = SIGNED_AT + int(age.total_seconds())
    monkeypatch.setattr(TimestampSigner, "get_timestamp", lambda _self: moment)


@pytest.mark.parametrize("purpose", PURPOSES)
def test_a_link_tells_which_subscription_it_is_for(purpose: Purpose) -> None:
    assert links().read(purpose, links().token(purpose, KARIS)) == KARIS


@pytest.mark.parametrize(
    ("made_for", "tried_for"),
    [(one, other) for one in PURPOSES for other in PURPOSES if one != other],
)
def test_a_link_is_good_for_one_purpose_only(made_for: Purpose, tried_for: Purpose) -> None:
    token = links().token(made_for, KARIS)
    with pytest.raises(InvalidLink, match="This link is not valid"):
        links().read(tried_for, token)


@pytest.mark.parametrize("purpose", PURPOSES)
def test_a_link_with_any_letter_changed_is_not_valid(purpose: Purpose) -> None:
    token = links().token(purpose, KARIS)
    for place in range(len(token)):
        other = "A" if token[place] != "A" else "B"
        with pytest.raises(InvalidLink):
            links().read(purpose, f"{token[:place]}{other}{token[place + 1 :]}")


@pytest.mark.parametrize("purpose", PURPOSES)
def test_a_link_has_one_text(purpose: Purpose) -> None:
    # Base64 lets the last letter be any of four: the bits by which they differ are not read.
    token = links().token(purpose, KARIS)
    for other in {*string.ascii_letters, *string.digits, *"-_"} - {token[-1]}:
        with pytest.raises(InvalidLink):
            links().read(purpose, token[:-1] + other)


@pytest.mark.parametrize("purpose", PURPOSES)
def test_a_link_cut_anywhere_is_not_valid(purpose: Purpose) -> None:
    token = links().token(purpose, KARIS)
    for length in range(len(token)):
        with pytest.raises(InvalidLink):
            links().read(purpose, token[:length])


@given(st.sampled_from(PURPOSES), st.text())
def test_no_text_is_a_link_by_chance(purpose: Purpose, text: str) -> None:
    with pytest.raises(InvalidLink):
        links().read(purpose, text)


@pytest.mark.parametrize(("purpose", "hours"), TIMED)
def test_a_link_in_has_its_time_and_no_second_more(
    monkeypatch: pytest.MonkeyPatch, purpose: Purpose, hours: int
) -> None:
    at(monkeypatch, timedelta())
    token = links().token(purpose, KARIS)
    at(monkeypatch, timedelta(hours=hours))
    assert links().read(purpose, token) == KARIS
    at(monkeypatch, timedelta(hours=hours, seconds=1))
    with pytest.raises(ExpiredLink, match="has expired") as refusal:
        links().read(purpose, token)
    assert (refusal.value.subscription_id, refusal.value.purpose) == (KARIS, purpose)


def test_a_forged_link_is_not_called_expired(monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, timedelta())
    token = links("a key that was never one of our own").token("confirm", KARIS)
    at(monkeypatch, timedelta(days=30))
    with pytest.raises(InvalidLink) as refusal:
        links().read("confirm", token)
    assert not isinstance(refusal.value, ExpiredLink)


@pytest.mark.parametrize("purpose", ["unsubscribe", "one-click"])
def test_a_link_out_lives_for_ever(monkeypatch: pytest.MonkeyPatch, purpose: Purpose) -> None:
    at(monkeypatch, timedelta())
    token = links().token(purpose, KARIS)
    at(monkeypatch, timedelta(days=36_500))
    assert links().read(purpose, token) == KARIS


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("purpose", ["unsubscribe", "one-click"])
def test_every_key_ever_used_lets_people_leave(purpose: Purpose, key: str) -> None:
    assert links().read(purpose, links(key).token(purpose, KARIS)) == KARIS


@pytest.mark.parametrize("key", KEYS[:2])
@pytest.mark.parametrize(("purpose", "_hours"), TIMED)
def test_the_two_newest_keys_let_people_in(key: str, purpose: Purpose, _hours: int) -> None:
    assert links().read(purpose, links(key).token(purpose, KARIS)) == KARIS


@pytest.mark.parametrize("key", KEYS[2:])
@pytest.mark.parametrize(("purpose", "_hours"), TIMED)
def test_older_keys_do_not(key: str, purpose: Purpose, _hours: int) -> None:
    with pytest.raises(InvalidLink):
        links().read(purpose, links(key).token(purpose, KARIS))


@pytest.mark.parametrize("purpose", PURPOSES)
def test_the_newest_key_signs(purpose: Purpose) -> None:
    assert links(KEYS[0]).read(purpose, links().token(purpose, KARIS)) == KARIS
