"""Changes of address beside all else that one does: no deadlock, nothing pressed is lost."""

from __future__ import annotations

import contextvars
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from sqlalchemy import delete

from mailer.domain.followers import address_change, erasure, links, preferences, subscriptions
from mailer.domain.followers.follower_csv import import_followers
from mailer.errors import InvalidLink, NotFound
from mailer.storage.database import transaction
from mailer.storage.models import SignUp, Subscription
from tests.support.press_room import EVIDENCE, KARI, OLA, SLUG, PressRoom

MAILBOXES = [KARI, OLA, "new@example.net"]
ACTS = 60


@pytest.mark.parametrize("seed", range(3))
def test_four_at_once_wait_for_one_another(room: PressRoom, seed: int) -> None:
    settings = room.settings

    def lead(number: int) -> None:
        choose = random.Random(4 * seed + number)

        def link() -> int:
            ids = [one.id for one in room.rows(Subscription)]
            return links.look_up(choose.choice(ids)).id

        def ask() -> None:
            with transaction() as session:
                session.execute(delete(SignUp))
            one, new = link(), choose.choice(MAILBOXES)
            address_change.ask_to_move(settings, one, new, everywhere=True)

        def move() -> None:
            with suppress(IndexError):
                token = room.move_token(choose.choice([0, -1, -2, -3]))
                address_change.move(settings, token, EVIDENCE)

        acts: list[Callable[[], object]] = [
            lambda: room.send_follow_form(choose.choice(MAILBOXES)),
            *[lambda: subscriptions.confirm(settings, link(), EVIDENCE)] * 3,
            lambda: subscriptions.unsubscribe(settings, link(), EVIDENCE),
            lambda: subscriptions.resume(room.settings, link(), EVIDENCE),
            lambda: preferences.pause(link(), 2, EVIDENCE),
            lambda: erasure.erase(settings, choose.choice(MAILBOXES)),
            lambda: room.suppress(choose.choice(MAILBOXES)),
            *([ask] * 3 + [move] * 3),
        ]
        for _ in range(ACTS):
            with suppress(InvalidLink, NotFound):
                choose.choice(acts)()

    room.confirmed(KARI)
    with ThreadPoolExecutor(4) as threads:
        running = [threads.submit(contextvars.copy_context().run, lead, one) for one in range(4)]
        for one in running:
            one.result()
    for mailbox in MAILBOXES:
        assert len(room.open_subscriptions(mailbox)) <= 1


def test_a_way_out_pressed_while_the_row_is_merged_ends_what_goes_on(
    room: PressRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, one = room.confirmed(OLA), room.confirmed(KARI)
    token = room.ask_to_move(one, OLA)
    opened = links.opened

    def moved_meanwhile(*of: object) -> object:
        view = opened(*of)  # type: ignore[arg-type]
        address_change.move(room.settings, token, EVIDENCE)
        return view

    monkeypatch.setattr(links, "opened", moved_meanwhile)
    link = f"/one-click/{room.tokens.token('one-click', one)}"
    assert room.client.post(link).status_code == 200
    assert room.open_subscriptions(OLA) == room.open_subscriptions(KARI) == []
    assert room.view(first) == (True, True)


def test_an_import_and_a_change_wait_for_each_other(room: PressRoom) -> None:
    one = room.confirmed(KARI)
    token = room.ask_to_move(one, OLA)
    lines = ["address", OLA, KARI, *(f"one{number}@example.org" for number in range(200))]
    with ThreadPoolExecutor(2) as threads:
        run = contextvars.copy_context().run
        key = room.settings.erasure_key
        moving = threads.submit(run, address_change.move, room.settings, token, EVIDENCE)
        run = contextvars.copy_context().run
        importing = threads.submit(
            run, lambda: import_followers(SLUG, lines, locales=("nb",), erasure_key=key)
        )
        assert moving.result().done
        assert importing.result().added >= 200
    assert len(room.open_subscriptions(OLA)) == 1
    assert room.open_subscriptions(KARI) == []
