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
from tests.web.site import Site

PASTS = ("unknown", "waiting", "confirmed", "departed", "no-mailbox", "was-erased", "asked-twice")


def address_of(past: str) -> str:
    """Name somebody with that past, all names of one length."""
    return f"{past:x<12}@example.org"


def live_through(site: Site, past: str) -> None:
    """Let somebody have that past."""
    address = address_of(past)
    if past == "waiting":
        site.requested(address)
    elif past == "confirmed":
        site.confirmed(address)
    elif past == "departed":
        site.ended(address)
    elif past == "no-mailbox":
        site.requested(address)
        site.suppress(address)
    elif past == "was-erased":
        site.erase(site.ended(address))
    elif past == "asked-twice":
        for _ in range(2):
            site.requested(address)


@contextmanager
def statements(site: Site) -> Iterator[list[str]]:
    """Note every statement that reaches the database."""
    seen: list[str] = []

    def note(_c: object, _u: object, statement: str, *_: object) -> None:
        seen.append(statement)

    with site.app.app_context():
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


@pytest.mark.parametrize("past", PASTS)
def test_the_answer_and_the_work_are_the_same(site: Site, past: str) -> None:
    live_through(site, past)
    with statements(site) as expected_work:
        expected = site.follow("never-seen-x@example.org")
    with statements(site) as work:
        answer = site.follow(address_of(past))
    assert seen_of(answer, address_of(past)) == seen_of(expected, "never-seen-x@example.org")
    assert work == expected_work
    assert expected_work


@pytest.mark.parametrize(("work", "beats"), [(0.0002, 1), (0.0036, 1), (0.0099, 1), (0.0101, 2)])
def test_work_takes_a_whole_number_of_beats(work: float, beats: int) -> None:
    assert work + padding_after(work) == pytest.approx(beats * STEP_SECONDS)


@pytest.mark.parametrize("past", PASTS)
def test_every_answer_waits_for_the_beat(
    site: Site, past: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    live_through(site, past)
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    site.follow(address_of(past))
    assert len(waits) == 1
    assert 0 <= waits[0] < STEP_SECONDS
