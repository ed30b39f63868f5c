"""The sweep: finds lost and overdue work in the rows, wakes workers for it, and harms nothing."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from redis import Redis as Client
from sqlalchemy import Connection, delete, event, select, update

from mailer.config import Settings
from mailer.fanout.sweep import sweep
from mailer.storage.database import db, transaction
from mailer.storage.models import Batch, BatchMembers, Release
from tests.fanout.press_room import BOB, FOLLOWERS, SendingRoom, together
from tests.processes import alive, eventually
from tests.servers import PostgreSQL, Redis


def bells(redis: Redis, queue: str = "releases") -> int:
    """Count the wake-up jobs in a queue."""
    with Client.from_url(redis.url) as client:
        return len(client.lrange(f"rq:queue:{queue}", 0, -1))


def test_it_rings_for_what_waits_once(room: SendingRoom, redis: Redis) -> None:
    room.publish()
    for forgets in (True, False):
        if forgets:
            redis.flush()
            assert bells(redis) == 0
        room.sweep()
        room.sweep()
        assert bells(redis) == 1
    assert bells(redis, "letters") == 0


def test_it_rings_for_a_batch_that_was_left_behind(room: SendingRoom, redis: Redis) -> None:
    room.freeze()
    redis.flush()
    room.sweep()
    assert bells(redis) == 1


def test_it_does_not_ring_for_nothing(room: SendingRoom, redis: Redis) -> None:
    room.publish()
    room.drain()
    redis.flush()
    room.sweep()
    assert bells(redis) == 0


def test_a_scheduled_release_is_held_and_then_sent_when_its_time_comes(
    room: SendingRoom, redis: Redis
) -> None:
    soon = (datetime.now(UTC) + timedelta(minutes=30)).isoformat()
    release_id = room.publish(published_at=soon, hold_minutes=60)
    seen = []
    for minutes in (0, 31, 15, 20):
        room.later(minutes=minutes)
        redis.flush()
        room.sweep()
        seen.append((room.release(release_id).state, bells(redis)))
    assert seen == [("scheduled", 0), ("held", 0), ("held", 0), ("held", 1)]
    room.drain()
    assert room.receipt(release_id).state == "done"
    assert room.received() == Counter(FOLLOWERS)


def restore(room: SendingRoom, release_id: int) -> None:
    """Let the release belong to another database than this one."""
    with transaction() as session:
        session.execute(
            update(Release)
            .where(Release.id == release_id)
            .values(database_identity="another database")
        )


def test_a_restored_database_is_not_believed(room: SendingRoom) -> None:
    release_id = room.freeze()
    restore(room, release_id)
    room.sweep()
    room.drain()
    release = room.release(release_id)
    assert (release.state, room.received()) == ("paused", Counter())
    assert "copy" in (release.paused_because or "")


@pytest.mark.parametrize("frozen", [True, False])
def test_a_restored_database_sends_nothing_before_the_sweep_either(
    room: SendingRoom, frozen: bool
) -> None:
    """Nor does it begin what the original may have sent after the copy was made."""
    release_id = room.freeze() if frozen else room.publish()
    restore(room, release_id)
    room.drain()
    assert (room.release(release_id).state, room.received()) == ("sending", Counter())
    room.sweep()
    assert room.release(release_id).state == "paused"


def test_a_scheduled_release_in_a_restored_database_waits_for_its_time_when_resumed(
    room: SendingRoom,
) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    release_id = room.publish(published_at=tomorrow.isoformat())
    restore(room, release_id)
    room.sweep()
    assert room.release(release_id).state == "paused"
    assert room.resume(release_id) == "scheduled"
    room.drain()
    assert room.received() == Counter()


def test_a_restored_database_is_believed_when_somebody_says_so(room: SendingRoom) -> None:
    release_id = room.freeze()
    restore(room, release_id)
    room.sweep()
    room.resume(release_id)
    room.sweep()
    room.drain()
    assert room.receipt(release_id).state == "done"
    assert room.received() == Counter(FOLLOWERS)


def test_what_was_done_before_the_restore_stays_done(room: SendingRoom) -> None:
    release_id = room.publish()
    room.drain()
    restore(room, release_id)
    room.sweep()
    assert room.receipt(release_id).state == "done"


def test_four_at_once_are_as_good_as_one(room: SendingRoom, redis: Redis) -> None:
    room.relay.answer(BOB, at="rcpt", reply="450 4.2.2 Busy", times=1)
    release_id = room.publish()
    room.drain()
    lost = room.freeze()
    assert room.claim() is not None
    room.later(minutes=2)
    redis.flush()
    together(*[room.sweep] * 4)
    kinds = Counter(batch.kind for batch in room.rows(Batch) if batch.open)
    assert kinds == Counter({"first": 3, "retry": 1})
    assert {batch.epoch for batch in room.rows(Batch) if batch.release_id == lost} == {0, 2}
    assert bells(redis) >= 1
    room.drain()
    assert {room.receipt(one).state for one in (release_id, lost)} == {"done"}
    assert room.received() == Counter([*FOLLOWERS, *FOLLOWERS])


def test_it_finishes_what_a_crash_left_unfinished(room: SendingRoom) -> None:
    release_id = room.freeze()
    with transaction() as session:
        session.execute(update(Batch).values(position=Batch.size, open=False))
    assert room.receipt(release_id).state == "sending"
    room.sweep()
    assert room.receipt(release_id).state == "done"


def test_it_goes_on_when_the_database_is_back(
    postgresql_room: SendingRoom, postgresql: PostgreSQL, redis: Redis
) -> None:
    postgresql_room.freeze()
    postgresql.stop()
    postgresql_room.sweep()
    postgresql_room.sweep()
    postgresql.start()
    redis.flush()
    postgresql_room.sweep()
    assert bells(redis) == 1


def test_it_goes_round_without_redis(room: SendingRoom, redis: Redis) -> None:
    release_id = room.freeze()
    assert room.claim() is not None
    redis.stop()
    room.later(minutes=2)
    room.sweep()
    assert room.receipt(release_id).uncertain == 1


def test_it_goes_round_again_after_the_server_ended_a_transaction_that_stood_still(
    postgresql_room: SendingRoom, caplog: pytest.LogCaptureFixture
) -> None:
    @event.listens_for(db.engine, "after_cursor_execute", once=True)
    def stand_still(connection: Connection, *_: object) -> None:
        assert connection.connection.driver_connection is not None
        connection.exec_driver_sql("SET idle_in_transaction_session_timeout = '100ms'")
        backend = connection.connection.driver_connection.info.backend_pid
        eventually(lambda: not alive(backend), "the server ends it")

    assert not sweep(postgresql_room.settings)
    assert "The database does not answer: InternalError" in caplog.text
    release_id = postgresql_room.publish()
    postgresql_room.drain()
    assert sweep(postgresql_room.settings)
    assert postgresql_room.receipt(release_id).state == "done"


def test_a_batch_that_cannot_be_freed_stops_no_other_chore(
    room: SendingRoom, caplog: pytest.LogCaptureFixture
) -> None:
    broken, whole = room.freeze(), room.freeze()
    while room.claim() is not None:
        pass
    with transaction() as session:
        first = session.scalars(select(Batch).where(Batch.release_id == broken)).first()
        assert first is not None
        session.execute(delete(BatchMembers).where(BatchMembers.batch_id == first.id))
        broken_id = first.id
    room.later(minutes=2)
    room.sweep()
    leased = [batch.id for batch in room.rows(Batch) if batch.lease_until is not None]
    assert leased == [broken_id]
    assert f"free batch {broken_id}" in caplog.text
    room.drain()
    assert room.receipt(whole).state == "done"


def test_a_chore_that_breaks_stops_no_other(
    room: SendingRoom, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ran: list[Settings] = []

    def broken() -> None:
        raise ValueError("a row that nobody expected")

    monkeypatch.setattr("mailer.fanout.sweep.suppress_dead_mailboxes", broken)
    monkeypatch.setattr("mailer.fanout.sweep.apply_retention", ran.append)
    sweep(room.settings, thorough=True)
    assert ran == [room.settings]
    assert "The sweep could not suppress dead mailboxes" in caplog.text
