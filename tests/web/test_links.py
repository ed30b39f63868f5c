"""A link is for a person and a press room, whatever has become of the row it was signed for."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Literal, NoReturn

import pytest
from sqlalchemy import update

from mailer.domain import publishers
from mailer.domain.followers import links, preferences, subscriptions
from mailer.domain.tokens import Purpose, Tokens
from mailer.domain.verp import ReturnPaths
from mailer.errors import InvalidLink
from mailer.storage.database import transaction
from mailer.storage.models import Subscription
from mailer.storage.types import new_nonce
from tests.conftest import on_both_databases
from tests.support.press_room import ADA, DRAFT, KARI, PressRoom
from tests.support.signed_links import nonce_of
from tests.web.pages import text

OLD_TOKENS = {
    "unsubscribe": "4711.L4True52x4G4h2wETtiX2bEmqr2GGfTbsKO1CXJjGjI",
    "one-click": "4711.hmwAym5jpdq3Hf1lvqspUX5jt5PrL_RJrhOHBIs-1mI",
}
"""Made by the code that knew no nonces, with the key below."""
OLD_KEY = "key number 0 of the press room's own"
AFTER_A_LINK = (
    ".",
    ",",
    ")",
    ">",
    ";",
    "]",
    " ",
    "/",
    "/.",
    "'",
    "=",
    "A",
    "%20",
    "\u201d",
    "?x=1",
)


def come_back(room: PressRoom) -> tuple[int, int]:
    """Let Kari follow, leave, and follow again; returns her old and her new subscription."""
    old = room.ended(KARI)
    return old, room.confirmed(KARI)


@on_both_databases
@pytest.mark.parametrize("way", ["unsubscribe", "one-click"])
def test_an_old_way_out_ends_what_is_open_now(
    room: PressRoom, way: Literal["unsubscribe", "one-click"]
) -> None:
    old, _ = come_back(room)
    path = f"/{way}/{room.tokens.token(way, old)}"
    assert "Du følger ikke lenger" not in text(room.client.get(path))
    assert "Du følger ikke lenger" in text(room.client.post(path))
    assert room.open_subscriptions(KARI) == []


@on_both_databases
def test_an_old_link_undoes_pauses_and_speaks_for_the_newest(room: PressRoom) -> None:
    old, new = come_back(room)
    manage = f"/manage/{room.tokens.token('unsubscribe', old)}"
    assert room.client.post(manage, data={"pause": "2"}).status_code == 200
    assert room.client.post(manage, data={"language": "en"}).status_code == 200
    assert [(one.id, one.locale) for one in room.rows(Subscription) if one.paused_until] == [
        (new, "en")
    ]
    room.unsubscribe(new)
    undo = f"/unsubscribe/{room.tokens.token('unsubscribe', old)}"
    assert room.client.post(undo, data={"action": "undo"}).status_code == 200
    assert room.open_subscriptions(KARI) == [new]


@on_both_databases
def test_what_is_open_counts_more_than_what_is_newest(room: PressRoom) -> None:
    old, new = come_back(room)
    room.unsubscribe(new)
    # Before links were for a person, an undo by an old letter opened the old row again.
    with room.app.app_context(), transaction() as session:
        reopened = update(Subscription).where(Subscription.id == old)
        session.execute(reopened.values(ended_at=None, ended_reason=None))
    room.client.post(f"/one-click/{room.tokens.token('one-click', new)}")
    assert room.open_subscriptions(KARI) == []


@on_both_databases
def test_a_link_to_confirm_is_for_its_request_or_an_open_one_after_it(room: PressRoom) -> None:
    old = room.sign_up(KARI)
    path = f"/confirm/{room.tokens.token('confirm', old)}"
    room.unsubscribe(old)
    room.client.post(path)
    assert room.open_subscriptions(KARI) == [], "it had ended"
    new = room.sign_up(KARI)
    room.client.post(path)
    assert room.view(new) == (True, False)
    room.unsubscribe(new)
    room.client.post(path)
    assert room.open_subscriptions(KARI) == []


@on_both_databases
def test_a_link_opens_nothing_of_another_person_or_press_room(room: PressRoom) -> None:
    with room.app.app_context():
        publishers.add(replace(DRAFT, slug="fjellavisa"))
    kari, ada = room.confirmed(KARI), room.confirmed(ADA)
    elsewhere = room.sign_up(KARI, slug="fjellavisa")
    room.client.post(f"/one-click/{room.tokens.token('one-click', kari)}")
    assert room.view(kari) == (True, True)
    assert room.view(ada) == (True, False)
    assert room.view(elsewhere) == (False, False)


@on_both_databases
@pytest.mark.parametrize("purpose", ["confirm", "access", "unsubscribe", "one-click"])
def test_after_a_restore_a_link_from_before_opens_nobodys_page(
    room: PressRoom, purpose: Purpose
) -> None:
    one = room.confirmed(KARI)
    token = room.tokens.token(purpose, one)
    # A copy from before is put back, and somebody else is the next to sign up.
    with room.app.app_context(), transaction() as session:
        session.execute(update(Subscription).values(nonce=new_nonce()))
    before = room.everything()
    page = "your-data" if purpose == "access" else purpose
    for path in (f"/{page}/{token}", f"/manage/{token}"):
        for answer in (room.client.get(path), room.client.post(path, data={"pause": "2"})):
            assert answer.status_code == 400
            assert "example.org" not in text(answer).replace(room.publisher.from_address, "")
    assert room.everything() == before


@on_both_databases
def test_a_link_from_before_there_were_nonces_works_for_ever(
    room: PressRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = room.confirmed(KARI)
    with room.app.app_context(), transaction() as session:
        session.execute(update(Subscription).values(nonce=None))
    token = Tokens(room.settings).token("one-click", one)
    assert room.client.post(f"/one-click/{token}").status_code == 200
    assert room.view(one) == (True, True)


@pytest.mark.parametrize("way", ["unsubscribe", "one-click"])
def test_the_code_of_before_signed_what_this_one_reads(
    room: PressRoom, way: Literal["unsubscribe", "one-click"]
) -> None:
    keys = Tokens(room.settings.model_copy(update={"secret_keys": (OLD_KEY,)}))
    assert keys.read(way, OLD_TOKENS[way]) == 4711
    assert keys.token(way, 4711) == OLD_TOKENS[way]


@pytest.mark.parametrize("after", AFTER_A_LINK)
@pytest.mark.parametrize("page", ["unsubscribe", "one-click", "manage", "your-data", "confirm"])
def test_what_stands_after_a_link_does_not_matter(room: PressRoom, page: str, after: str) -> None:
    one = room.sign_up(KARI) if page == "confirm" else room.confirmed(KARI)
    purposes: dict[str, Purpose] = {"manage": "unsubscribe", "your-data": "access"}
    token = room.tokens.token(purposes.get(page, page), one)  # type: ignore[arg-type]
    assert room.client.get(f"/{page}/{token}{after}").status_code == 200
    fields = {"action": "ask"} if page == "your-data" else {"pause": "2"}
    assert room.client.post(f"/{page}/{token}{after}", data=fields).status_code == 200


def _mail(room: PressRoom, purpose: Literal["bounce", "unsubscribe"], one: int) -> None:
    settings = room.settings.model_copy(update={"mail_domain": "in.example.org"})
    address = ReturnPaths(settings).address(purpose, one, nonce=nonce_of(one))
    links.opened_by_mail(settings, [address])


EIGHT: dict[str, Callable[[PressRoom, int, str], object]] = {
    "page": lambda room, _, token: room.client.post(f"/unsubscribe/{token}"),
    "manage": lambda room, _, token: room.client.post(f"/manage/{token}", data={"language": "en"}),
    "pause": lambda room, _, token: room.client.post(f"/manage/{token}", data={"pause": "2"}),
    "undo": lambda room, _, token: room.client.post(
        f"/unsubscribe/{token}", data={"action": "undo"}
    ),
    "one-click": lambda room, one, _: room.client.post(
        f"/one-click/{room.tokens.token('one-click', one)}"
    ),
    "confirm": lambda room, one, _: room.client.post(
        f"/confirm/{room.tokens.token('confirm', one)}"
    ),
    "mailto": lambda room, one, _: _mail(room, "unsubscribe", one),
    "returned mail": lambda room, one, _: _mail(room, "bounce", one),
}


@pytest.mark.parametrize("entry", EIGHT)
def test_one_function_tells_what_a_link_is_for(
    room: PressRoom, entry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = room.confirmed(KARI)
    asked = []

    def nobody(*of: object) -> NoReturn:
        asked.append(of)
        raise InvalidLink("Nobody.")

    for module in (links, subscriptions, preferences):
        monkeypatch.setattr(module, "subscription_of", nobody)
    before = room.everything()
    with room.app.app_context():
        token = room.tokens.token("unsubscribe", one)
        with suppress(InvalidLink):
            EIGHT[entry](room, one, token)
    assert len(asked) == 1
    assert room.everything() == before
