"""Erasure: what is left of a person, who may bring them back, and who else is at it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from sqlalchemy import delete, select, update

from mailer.domain import publishers
from mailer.domain.fingerprints import missing_keys, tell_of_missing_keys
from mailer.domain.followers import erasure, preferences, subscriptions
from mailer.domain.followers.follower_csv import ImportReport, import_followers
from mailer.domain.followers.subscriptions import Evidence
from mailer.domain.publishers import PublisherDraft
from mailer.errors import InvalidAddress, Misconfigured, NotFound
from mailer.storage.database import read_transaction, transaction
from mailer.storage.models import (
    Base,
    Consent,
    Erased,
    Fingerprint,
    OutboxMessage,
    Subscriber,
    Subscription,
)
from mailer.storage.types import now
from tests.support.press_room import EVIDENCE, KARI, OLA, SLUG, PressRoom

SEEN = Evidence(language="nb", page="https://follow.example.org/kari", network="192.0.2.0/24")


def bring(room: PressRoom, *addresses: str) -> ImportReport:
    """Import people with the key of the press room."""
    lines = ["address", *addresses]
    key = room.settings.erasure_key
    return import_followers(SLUG, lines, locales=("nb",), erasure_key=key)


def everything() -> str:
    """Return the whole database as text."""
    with read_transaction() as session:
        tables = Base.metadata.sorted_tables
        return str([tuple(row) for table in tables for row in session.execute(select(table))])


def test_only_bare_rows_and_a_hash_are_left(room: PressRoom) -> None:
    publishers.add(PublisherDraft("fjellavisa", "Fjellavisa", "presse@example.org", "nn"))
    left = room.confirmed(KARI)
    room.unsubscribe(left)
    subscriptions.sign_up(room.settings, publishers.find(SLUG), KARI, SEEN)
    [asked] = room.open_subscriptions(KARI)
    other = room.sign_up(KARI, slug="fjellavisa")
    erasure.erase(room.settings, " KARI@example.org")
    text = everything()
    for trace in ("kari", SEEN.page, str(SEEN.network)):
        assert trace not in text
    with read_transaction() as session:
        rows = session.scalars(select(Subscription).order_by(Subscription.id)).all()
        assert [row.id for row in rows] == [left, asked, other]
        assert {row.subscriber_id for row in rows} == {None}
        assert [row.ended_reason for row in rows] == ["unsubscribed: page", "erased", "erased"]
        consents = session.scalars(select(Consent)).all()
        assert {(one.network, one.page, one.message_id) for one in consents} == {(None, None, None)}
        assert all(one.wording and one.at for one in consents), "that they agreed stays proven"
        [erased] = session.scalars(select(Erased))
        assert len(bytes.fromhex(erased.digest)) == 32


def test_letters_on_their_way_are_dropped_and_those_sent_stay_counted(room: PressRoom) -> None:
    room.confirmed(KARI)
    with transaction() as session:
        first = select(OutboxMessage.id).order_by(OutboxMessage.id).limit(1).scalar_subquery()
        sent = update(OutboxMessage).where(OutboxMessage.id == first)
        session.execute(sent.values(finished_at=now(), outcome="accepted"))
    erasure.erase(room.settings, KARI)
    assert room.letters() == ["confirm"]


def test_another_key_makes_another_hash(room: PressRoom) -> None:
    """Whoever has the table alone cannot try addresses on it."""
    digests = set()
    for key in ("k" * 32, "l" * 32):
        room.sign_up(KARI)
        erasure.erase(room.settings.model_copy(update={"erasure_key": key}), KARI)
        with transaction() as session:
            digests |= set(session.scalars(select(Erased.digest)))
            # As in a database of its own.
            session.execute(delete(Erased))
            session.execute(delete(Fingerprint))
    assert len(digests) == 2


def test_a_key_that_has_changed_brings_nobody_back_and_erases_nobody(room: PressRoom) -> None:
    room.confirmed(KARI)
    room.confirmed(OLA)
    erasure.erase(room.settings, KARI)
    changed = room.settings.model_copy(update={"erasure_key": "another key of this press room"})
    with pytest.raises(Misconfigured, match="MAILER_ERASURE_KEY: has changed"):
        import_followers(SLUG, ["address", KARI], locales=("nb",), erasure_key=changed.erasure_key)
    with pytest.raises(Misconfigured, match="has changed"):
        erasure.erase(changed, OLA)
    assert [len(room.open_subscriptions(one)) for one in (KARI, OLA)] == [0, 1]
    assert "MAILER_ERASURE_KEY" in " ".join(missing_keys(changed))
    assert missing_keys(room.settings) == []


def test_a_key_that_signed_links_is_missed(
    room: PressRoom, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = "the first key of this press room", "the second key of this press room"
    for keys in ((first,), (second, first), (second, first)):
        settings = room.settings.model_copy(update={"secret_keys": keys})
        tell_of_missing_keys(settings)
        assert missing_keys(settings) == []
    # Whoever only asks, as doctor does with the settings of another shell, signs nothing.
    missing_keys(room.settings)
    lost = room.settings.model_copy(update={"secret_keys": (second,)})
    [problem] = missing_keys(lost)
    assert problem.startswith("SECRET_KEYS: a key is missing")
    tell_of_missing_keys(lost)
    assert problem in caplog.text
    assert first not in caplog.text


@pytest.mark.parametrize(
    ("address", "error"), [("nobody@example.org", NotFound), ("kari", InvalidAddress)]
)
def test_who_is_not_here_is_not_erased(
    room: PressRoom, address: str, error: type[Exception]
) -> None:
    room.confirmed(KARI)
    with pytest.raises(error):
        erasure.erase(room.settings, address)
    assert room.count(Erased) == 0
    assert room.count(Subscriber) == 1


def test_without_a_key_nobody_is_erased(room: PressRoom) -> None:
    one = room.confirmed(KARI)
    keyless = room.settings.model_copy(update={"erasure_key": None})
    with pytest.raises(Misconfigured, match="MAILER_ERASURE_KEY"):
        erasure.erase(keyless, KARI)
    with pytest.raises(Misconfigured):
        erasure.erase_subscriber_of(keyless, one)
    assert room.open_subscriptions(KARI) == [one]


def test_no_file_brings_them_back_until_they_have_confirmed_anew(room: PressRoom) -> None:
    room.confirmed(KARI)
    erasure.erase(room.settings, KARI)
    for _ in range(2):
        report = bring(room, OLA, KARI)
        assert "only they may come back" in report.refused[3]
    assert "kari" not in everything()
    one = room.sign_up(KARI)
    assert "only they may come back" in bring(room, KARI).refused[2]
    assert room.count(Erased) == 1
    subscriptions.confirm(room.settings, one, EVIDENCE)
    assert room.count(Erased) == 0
    room.unsubscribe(one)
    assert "left" in bring(room, KARI).refused[2]


def test_an_import_that_cannot_tell_who_was_erased_brings_nobody(room: PressRoom) -> None:
    assert import_followers(SLUG, ["address", OLA], locales=("nb",)).added == 1
    room.confirmed(KARI)
    erasure.erase(room.settings, KARI)
    with pytest.raises(Misconfigured, match="MAILER_ERASURE_KEY"):
        import_followers(SLUG, ["address", KARI], locales=("nb",))
    assert room.open_subscriptions(KARI) == []


@pytest.mark.parametrize("other", ["sign up", "import", "leave", "undo", "ask", "erase"])
def test_an_erasure_beside_something_else_is_before_or_after_it(
    room: PressRoom, other: str
) -> None:
    together = threading.Barrier(2)

    def at_once(work: Callable[[], object]) -> None:
        with room.app.app_context():
            together.wait()
            work()

    for number in range(8):
        address = f"kari{number}@example.org"
        one = room.confirmed(address)
        if other == "undo":
            room.unsubscribe(one)
        erasing = partial(erasure.erase_subscriber_of, room.settings, one)
        beside: dict[str, Callable[[], object]] = {
            "sign up": partial(
                subscriptions.sign_up, room.settings, publishers.find(SLUG), address, EVIDENCE
            ),
            "import": partial(bring, room, address),
            "leave": partial(room.unsubscribe, one),
            "undo": partial(subscriptions.resume, room.settings, one, EVIDENCE),
            "ask": partial(preferences.ask_for_link, room.settings, one),
            "erase": erasing,
        }
        with ThreadPoolExecutor(2) as crowd:
            for each in [crowd.submit(at_once, work) for work in (erasing, beside[other])]:
                each.result()
        with read_transaction() as session:
            row = session.get_one(Subscription, one)
            assert (row.subscriber_id, row.ended_at is None) == (None, False)
        assert len(room.open_subscriptions(address)) <= (other == "sign up")
        assert other == "sign up" or address not in everything()
    assert room.count(Erased) == 8
