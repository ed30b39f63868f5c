"""Acknowledgements: many of them, one transaction, and none lost with the database."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from sqlalchemy import event, text

from mailer.domain.releases.lifecycle import finish_if_complete
from mailer.fanout.acknowledgements import FENCED, GO_ON, AcknowledgementWriter
from mailer.fanout.answers.replies import Verdict
from mailer.fanout.answers.send_rate import SendRate
from mailer.fanout.batches import Claim
from mailer.fanout.database_thread import DatabaseThread
from mailer.fanout.delivery.leases import Leases
from mailer.fanout.outcomes import Finding, Progress, write_progress
from mailer.storage.database import db, transaction
from mailer.storage.models import Batch
from tests.fanout.press_room import FOLLOWERS, SendingRoom, crowd, together
from tests.servers import PostgreSQL


def claimed(room: SendingRoom) -> list[Claim]:
    """Freeze a release and claim its three batches, of Ada and Bob, Cai and Dag, and Eva."""
    room.freeze()
    claims = [room.claim() for _ in range(3)]
    assert None not in claims
    return [one for one in claims if one]


def acknowledging(room: SendingRoom, database: DatabaseThread) -> AcknowledgementWriter:
    """Return the writer of a process that has no lease yet."""
    leases = Leases(database, Batch, room.settings.lease_seconds)
    return AcknowledgementWriter(
        database, leases, SendRate(room.settings, asyncio.Event()), room.settings
    )


def test_what_arrives_together_is_one_transaction(room: SendingRoom) -> None:
    claims = claimed(room)
    commits: list[object] = []

    def note(connection: object) -> None:
        commits.append(connection)

    async def work() -> list[str]:
        database = DatabaseThread(asyncio.Event())
        acknowledgements = acknowledging(room, database)
        futures = [acknowledgements.record(Progress(one, 1)) for one in claims]
        running = asyncio.create_task(acknowledgements.run())
        states = await asyncio.gather(*futures)
        running.cancel()
        database.close()
        return [one.state for one in states]

    event.listen(db.engine, "commit", note)
    states = asyncio.run(work())
    event.remove(db.engine, "commit", note)
    assert states == [GO_ON] * 3
    assert len(commits) == 1
    assert [batch.position for batch in room.rows(Batch)] == [1, 1, 1]


def test_one_connection_that_was_given_up_does_not_disturb_the_others(
    room: SendingRoom,
) -> None:
    claims = claimed(room)
    with transaction() as session:
        session.get_one(Batch, claims[1].batch_id).epoch += 1

    async def work() -> list[str]:
        database = DatabaseThread(asyncio.Event())
        acknowledgements = acknowledging(room, database)
        running = asyncio.create_task(acknowledgements.run())
        states = await asyncio.gather(
            *(acknowledgements.record(Progress(one, 1)) for one in claims)
        )
        running.cancel()
        database.close()
        return [one.state for one in states]

    assert asyncio.run(work()) == [GO_ON, FENCED, GO_ON]
    assert [batch.position for batch in room.rows(Batch)] == [1, 0, 1]


def test_the_last_batch_in_hand_finishes_its_release(room: SendingRoom) -> None:
    claims = claimed(room)

    async def work() -> list[str]:
        database = DatabaseThread(asyncio.Event())
        acknowledgements = acknowledging(room, database)
        leases = acknowledgements.leases
        for one in claims:
            leases.note(one, 0)
        running = asyncio.create_task(acknowledgements.run())
        states = []
        for one in claims:
            await acknowledgements.record(Progress(one, len(one.members)))
            states.append(room.receipt(one.release_id).state)
        running.cancel()
        database.close()
        return states

    assert asyncio.run(work()) == ["sending", "sending", "done"]
    assert [(batch.open, batch.lease_until) for batch in room.rows(Batch)] == [(False, None)] * 3


def test_who_learns_that_a_batch_is_lost_finishes_what_is_left(room: SendingRoom) -> None:
    """Others have finished it meanwhile, when ours were not yet."""
    *ours, lost = claimed(room)

    async def work() -> None:
        database = DatabaseThread(asyncio.Event())
        acknowledgements = acknowledging(room, database)
        leases = acknowledgements.leases
        for one in (*ours, lost):
            leases.note(one, 0)
        with transaction() as session:
            batch = session.get_one(Batch, lost.batch_id)
            batch.epoch, batch.open, batch.lease_until = batch.epoch + 1, False, None
            batch.position = batch.size
        running = asyncio.create_task(acknowledgements.run())
        for one in ours:
            await acknowledgements.record(Progress(one, len(one.members)))
        assert room.receipt(lost.release_id).state == "sending"
        assert (await acknowledgements.record(Progress(lost, 0))).state == FENCED
        running.cancel()
        database.close()

    asyncio.run(work())
    assert room.receipt(lost.release_id).state == "done"


def test_a_dot_may_leave_only_under_a_lease_that_is_held(room: SendingRoom) -> None:
    taken = claimed(room)[0]

    async def work() -> list[bool]:
        leases = Leases(DatabaseThread(asyncio.Event()), Batch, room.settings.lease_seconds)
        before = leases.is_safe(taken)
        leases.note(taken, asyncio.get_running_loop().time())
        return [before, leases.is_safe(taken)]

    assert asyncio.run(work()) == [False, True]


def test_two_processes_that_finish_a_release_together_do_not_deadlock(
    postgresql_room: SendingRoom,
) -> None:
    first, second = claimed(postgresql_room)[:2]
    written = threading.Barrier(2)

    def finish(taken: Claim) -> None:
        busy = Finding(taken.members[0], "ada@example.org", Verdict("deferred", "4.2.2"))
        with transaction() as session:
            progress = Progress(taken, 1, findings=[busy])
            write_progress(session.connection(), [progress], postgresql_room.settings)
            written.wait()
            finish_if_complete(session, taken.release_id)

    together(lambda: finish(first), lambda: finish(second))


def test_a_process_that_ends_does_not_wait_for_a_database_that_hangs(
    postgresql_room: SendingRoom,
) -> None:
    """A statement waits for ever, here for a lock that another session keeps."""
    database = DatabaseThread(asyncio.Event())
    lock = text("SELECT pg_advisory_xact_lock(1)")

    async def hang() -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(0.1):
                await database.run_statement(lambda connection: connection.execute(lock))

    with ThreadPoolExecutor(1) as threads, db.engine.connect() as another:
        another.execute(lock)
        asyncio.run(hang())
        ending = threads.submit(database.close)
        ending.result(timeout=5)


def test_everyone_gets_it_once_over_many_connections(empty_room: SendingRoom) -> None:
    people = crowd(100)
    empty_room.add_followers(*people)
    empty_room.adjust(connections=8)
    release_id = empty_room.publish()
    empty_room.drain()
    assert empty_room.received() == Counter(people)
    receipt = empty_room.receipt(release_id)
    assert (receipt.state, receipt.accepted, receipt.uncertain) == ("done", 100, 0)


def test_two_drains_at_once_share_the_work(empty_room: SendingRoom) -> None:
    people = crowd(100)
    empty_room.add_followers(*people)
    empty_room.adjust(connections=2)
    release_id = empty_room.publish()
    together(empty_room.drain, empty_room.drain)
    empty_room.drain()
    assert empty_room.received() == Counter(people)
    assert empty_room.receipt(release_id).state == "done"


def test_a_database_that_is_killed_in_the_middle_costs_nothing(
    postgresql_room: SendingRoom, postgresql: PostgreSQL
) -> None:
    people = crowd(200)
    postgresql_room.add_followers(*people)
    postgresql_room.adjust(connections=4)
    release_id = postgresql_room.publish()
    with postgresql_room.draining():
        postgresql_room.relay.wait_for(30)
        postgresql.kill()
        postgresql.start()
    postgresql_room.drain()
    assert postgresql_room.received() == Counter([*FOLLOWERS, *people])
    assert postgresql_room.receipt(release_id).state == "done"


def test_a_drain_ends_when_it_is_asked_to_while_the_database_stays_away(
    postgresql_room: SendingRoom, postgresql: PostgreSQL
) -> None:
    """What was not recorded is found by its leases; the release is not paused for it."""
    people = crowd(200)
    postgresql_room.add_followers(*people)
    postgresql_room.adjust(connections=4)
    release_id = postgresql_room.publish()
    with postgresql_room.draining() as leave:
        postgresql_room.relay.wait_for(30)
        postgresql.kill()
        leave()
    postgresql.start()
    assert postgresql_room.receipt(release_id).state == "sending"
    postgresql_room.later(minutes=2)
    postgresql_room.sweep()
    postgresql_room.drain()
    received = postgresql_room.received()
    assert set(received) == {*FOLLOWERS, *people}
    assert {one for one, copies in received.items() if copies > 1} <= postgresql_room.uncertain(
        release_id
    )
    assert postgresql_room.receipt(release_id).state == "done"
