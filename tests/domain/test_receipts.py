"""The receipt balances, from before anything is sent until nothing is left to send."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import update

from mailer.domain import publishers
from mailer.domain.releases import lifecycle, publishing, receipts
from mailer.domain.releases.receipts import Receipt
from mailer.domain.releases.release_body import ReleaseBody
from mailer.errors import InvalidAddress, NotFound
from mailer.storage.database import transaction
from mailer.storage.models import Batch, BatchMembers, Outcome, Release, Uncertain
from mailer.storage.types import now
from tests.support.press_room import ADA, DRAFT, KARI, OLA, PressRoom
from tests.support.releases import release


def publish(room: PressRoom, **changes: object) -> int:
    body = ReleaseBody.read(release(**changes))
    return publishing.publish(room.settings, room.publisher, body).id


def frozen(release_id: int, members: list[int], position: int) -> None:
    """Write down an audience that has been sent to up to a position."""
    with transaction() as session:
        batch = Batch(
            release_id=release_id,
            kind="first",
            lowest=min(members),
            highest=max(members),
            size=len(members),
            position=position,
        )
        session.add(batch)
        session.flush()
        session.add(BatchMembers(batch_id=batch.id, ids=sorted(members)))
        session.execute(
            update(Release)
            .where(Release.id == release_id)
            .values(total=Release.total + len(members), frozen_at=now())
        )


def outcome(release_id: int, subscription_id: int, kind: str, reason: str) -> None:
    with transaction() as session:
        session.add(
            Outcome(
                release_id=release_id,
                subscription_id=subscription_id,
                kind=kind,
                reason=reason,
                at=now(),
            )
        )


def balance(account: Receipt) -> int:
    parts = (account.accepted, account.refused, account.skipped, account.deferred)
    return sum(parts) + account.waiting


@pytest.mark.parametrize("changes", [{}, {"hold_minutes": 10}, {"notify": False}])
def test_before_it_is_sent_everything_is_zero(room: PressRoom, changes: dict[str, object]) -> None:
    one = publish(room, **changes)
    account = receipts.receipt(room.publisher, one)
    assert account == Receipt(state=account.state)


def test_half_way_everyone_is_accounted_for(room: PressRoom) -> None:
    one = publish(room)
    frozen(one, [1, 2, 3, 4, 5], position=4)
    frozen(one, [6, 7], position=0)
    outcome(one, 2, "refused", "5.1.1")
    outcome(one, 3, "deferred", "4.2.2")
    outcome(one, 4, "skipped", "left")
    account = receipts.receipt(room.publisher, one)
    assert account.total == balance(account) == 7
    assert (account.accepted, account.refused, account.deferred) == (1, 1, 1)
    assert (account.skipped, account.waiting) == (1, 3)
    assert account.reasons == {
        "refused": {"5.1.1": 1},
        "deferred": {"4.2.2": 1},
        "skipped": {"left": 1},
    }


def test_after_a_stop_who_was_spared_is_skipped(room: PressRoom) -> None:
    one = publish(room)
    frozen(one, [1, 2, 3, 4], position=2)
    outcome(one, 2, "deferred", "4.2.2")
    lifecycle.stop(room.publisher, one)
    account = receipts.receipt(room.publisher, one)
    assert account.state == "stopped"
    assert account.total == balance(account) == 4
    assert (account.accepted, account.skipped) == (1, 3)
    assert account.reasons["skipped"] == {"stopped": 3}


def test_who_may_have_it_twice_is_told_and_never_added(room: PressRoom) -> None:
    one = publish(room)
    frozen(one, [1, 2], position=2)
    with transaction() as session:
        session.add(Uncertain(release_id=one, subscription_id=1, reason="lease", at=now()))
    account = receipts.receipt(room.publisher, one)
    assert account.uncertain == 1
    assert account.total == account.accepted == balance(account) == 2


def test_another_release_does_not_count(room: PressRoom) -> None:
    one, other = publish(room), publish(room, reference="tyttebaer-2026")
    frozen(other, [1, 2], position=2)
    outcome(other, 1, "refused", "5.1.1")
    assert receipts.receipt(room.publisher, one).total == 0


def test_what_became_of_each_recipient(room: PressRoom) -> None:
    karis, olas, adas = (room.confirmed(person) for person in (KARI, OLA, ADA))
    one = publish(room)
    frozen(one, [karis, olas, adas], position=2)
    outcome(one, olas, "refused", "5.1.1")
    states = {
        person: receipts.recipient(room.publisher, one, person)["state"]
        for person in (KARI, OLA, ADA)
    }
    assert states == {KARI: "accepted", OLA: "refused", ADA: "waiting"}
    assert receipts.recipient(room.publisher, one, OLA)["reason"] == "5.1.1"


def test_a_recipient_is_found_however_the_address_is_written(room: PressRoom) -> None:
    karis = room.confirmed(KARI)
    one = publish(room)
    frozen(one, [karis], position=1)
    assert receipts.recipient(room.publisher, one, "KARI@Example.org")["address"] == KARI


def test_whoever_it_was_not_for_is_not_found(room: PressRoom) -> None:
    one = publish(room)
    frozen(one, [room.confirmed(KARI)], position=1)
    room.confirmed(OLA)
    for stranger in (OLA, ADA):
        with pytest.raises(NotFound):
            receipts.recipient(room.publisher, one, stranger)


def test_what_is_no_address_is_no_recipient(room: PressRoom) -> None:
    with pytest.raises(InvalidAddress):
        receipts.recipient(room.publisher, publish(room), "kari")


def test_the_receipt_of_another_press_room_is_not_there(room: PressRoom) -> None:
    publishers.add(replace(DRAFT, slug="fjellavisa"))
    one = publish(room)
    with pytest.raises(NotFound):
        receipts.receipt(publishers.find("fjellavisa"), one)
    with pytest.raises(NotFound):
        receipts.recipient(publishers.find("fjellavisa"), one, KARI)
