"""Nobody learns from the follow box who is known: not by text, by size, or by work done."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import event
from werkzeug.test import TestResponse

from mailer.storage.database import db
from mailer.web.constant_time import STEP_SECONDS, padding_after
from tests.conftest import on_both_databases
from tests.support.press_room import PressRoom

PASTS = ("unknown", "waiting", "confirmed", "departed", "no-mailbox", "was-erased", "asked-twice")


def address_of(past: str) -> str:
    """Name somebody with that past, all names of one length."""
    return f"{past:x<12}@example.org"


def live_through(room: PressRoom, past: str) -> None:
    """Let somebody have that past."""
    address = address_of(past)
    if past == "waiting":
        room.sign_up(address)
    elif past == "confirmed":
        room.confirmed(address)
    elif past == "departed":
        room.ended(address)
    elif past == "no-mailbox":
        room.sign_up(address)
        room.suppress(address)
    elif past == "was-erased":
        room.erase(room.ended(address))
    elif past == "asked-twice":
        for _ in range(2):
            room.sign_up(address)


@contextmanager
def statements(room: PressRoom) -> Iterator[list[str]]:
    """Note every statement that reaches the database."""
    seen: list[str] = []

    def note(_c: object, _u: object, statement: str, *_: object) -> None:
        seen.append(statement)

    with room.app.app_context():
        engine = db.engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", note)


def seen_of(answer: TestResponse, address: str) -> tuple[object, ...]:
    """Return all that an asker sees, with the address that was typed left out."""
    headers = {name: value for name, value in answer.headers if name != "Date"}
    return answer.status_code, headers, answer.data.replace(address.encode(), b"")


@on_both_databases
@pytest.mark.parametrize("past", PASTS)
def test_the_answer_and_the_work_are_the_same(room: PressRoom, past: str) -> None:
    live_through(room, past)
    with statements(room) as expected_work:
        expected = room.send_follow_form("never-seen-x@example.org")
    with statements(room) as work:
        answer = room.send_follow_form(address_of(past))
    assert seen_of(answer, address_of(past)) == seen_of(expected, "never-seen-x@example.org")
    assert work == expected_work
    assert expected_work


@pytest.mark.parametrize(("work", "beats"), [(0.0002, 1), (0.0036, 1), (0.0099, 1), (0.0101, 2)])
def test_work_takes_a_whole_number_of_beats(work: float, beats: int) -> None:
    assert work + padding_after(work) == pytest.approx(beats * STEP_SECONDS)


@pytest.mark.parametrize("past", PASTS)
def test_every_answer_waits_for_the_beat(
    room: PressRoom, past: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    live_through(room, past)
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    room.send_follow_form(address_of(past))
    assert len(waits) == 1
    assert 0 <= waits[0] < STEP_SECONDS
