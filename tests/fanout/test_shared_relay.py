"""Releases of several press rooms, and several processes, before one relay that is slow."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from functools import partial

import pytest
from sqlalchemy import Connection, update

from mailer.domain import publishers
from mailer.domain.followers import subscriptions
from mailer.domain.followers.subscriptions import Evidence
from mailer.fanout.answers import backoff
from mailer.fanout.answers.pauses import DOTS_UNANSWERED
from mailer.fanout.answers.refusals import ReleaseAnswers
from mailer.fanout.answers.send_rate import SendRate
from mailer.fanout.database_thread import DatabaseThread
from mailer.fanout.delivery.leases import Leases
from mailer.fanout.delivery.message import DeliveryContext
from mailer.fanout.delivery.relay_view import RelayView
from mailer.fanout.probes import claim_for_probe
from mailer.storage.database import transaction
from mailer.storage.models import Batch, RelayState
from mailer.storage.sql import database_now
from tests.fanout.press_room import BOB, SendingRoom
from tests.support.press_room import SLUG
from tests.support.scripted_relay import Answer, script
from tests.support.sending import ADA, DEAD, Playing, Sending, everybody, people

THINKS = 45.0


@pytest.mark.parametrize("connections", [1, 8])
def test_what_is_sent_ahead_waits_for_its_permit_too(playing: Playing, connections: int) -> None:
    async def story(sending: Sending) -> None:
        await asyncio.sleep(20)
        assert 90 <= sending.taken().total() <= 105

    playing(lambda *_: None, people(300), story, connections=connections, messages_a_second=5.0)


@pytest.mark.parametrize("connections", [1, 2])
@pytest.mark.parametrize("number", [1, 3])
def test_releases_that_came_later_take_turns_with_a_long_one(
    playing: Playing, connections: int, number: int
) -> None:
    async def story(sending: Sending) -> None:
        await asyncio.sleep(20)
        others = [
            Sending(sending.world, sending.room.publish(title="Skuta er borte"))
            for _ in range(number)
        ]
        await asyncio.sleep(60)
        for one in (sending, *others):
            assert one.receipt.accepted >= 10

    takes_a_second = everybody("dot", Answer("250 2.0.0 Ok", delay=1.0))
    playing(takes_a_second, people(200), story, connections=connections)


def test_giving_way_costs_no_wait_at_the_end(playing: Playing) -> None:
    async def story(sending: Sending) -> None:
        await asyncio.sleep(8)
        other = Sending(sending.world, sending.room.publish(title="Skuta er borte"))
        await asyncio.sleep(55)
        assert (sending.receipt.state, other.receipt.state) == ("done", "done")

    takes_a_second = everybody("dot", Answer("250 2.0.0 Ok", delay=1.0))
    playing(takes_a_second, people(30), story, connections=1)


def test_who_leaves_while_the_relay_thinks_about_them_harms_nobody_behind_them(
    playing: Playing,
) -> None:
    """The relay waits for the content of a message that does not follow."""
    followers = people(20)
    leaves = followers[7]

    async def story(sending: Sending) -> None:
        await asyncio.sleep(5)
        sending.room.unsubscribe(sending.room.subscription(leaves).id)
        receipt = await sending.until_at_rest()
        assert (receipt.state, receipt.accepted) == ("done", 19)
        assert sending.room.outcome(sending.release_id, leaves) == ("skipped", "left")
        assert sending.taken() == Counter(set(followers) - {leaves})
        assert max(one.at for one in sending.relay.taken) < 30

    thinks = script((leaves, "rcpt", Answer("250 2.1.5 Ok", delay=20.0)))
    playing(thinks, followers, story, connections=1)


def test_the_twentieth_dot_in_a_row_without_an_answer_pauses(playing: Playing) -> None:
    takes_the_first = lambda at, who, _: (  # noqa: E731
        Answer(None, closes=True, keeps=True) if at == "dot" and who != ADA else None
    )

    async def story(sending: Sending) -> None:
        receipt = await sending.until_at_rest()
        assert (receipt.state, receipt.accepted, sending.because) == ("paused", 1, DOTS_UNANSWERED)
        assert len(sending.room.uncertain(sending.release_id)) == 20

    playing(takes_the_first, people(100), story, connections=1)


def another_process(work: Callable[[Connection], object]) -> None:
    with transaction() as session:
        work(session.connection())


@pytest.mark.parametrize(("before", "after"), [(None, 1.0), (7.0, 7.0)])
def test_when_another_process_ends_a_backoff_each_begins_slowly(
    room: SendingRoom, before: float | None, after: float
) -> None:
    async def look() -> float | None:
        shutdown = asyncio.Event()
        database, send_rate = DatabaseThread(shutdown), SendRate(room.settings, shutdown)
        leases = Leases(database, Batch, room.settings.lease_seconds)
        context = DeliveryContext(room.settings, database, leases, send_rate, shutdown)
        view = RelayView(context, takes_permits=True)
        another_process(partial(backoff.begin_by_connection, permanent=False))
        await view.look(at_once=True)
        assert context.sends_nothing
        if before is not None:
            send_rate.start_again(before)
        another_process(backoff.note_answer)
        await view.look(at_once=True)
        assert not context.sends_nothing
        database.close()
        return send_rate.adaptive

    with room.app.app_context():
        assert asyncio.run(look()) == pytest.approx(after)


def test_a_letter_whose_lease_was_not_renewed_is_sent_at_once_anew(playing: Playing) -> None:
    """The worker is frozen while the relay thinks: another one may have the letter already."""
    guest = "guest@example.org"
    proof = Evidence(language="nb", page="test", network=None)

    async def story(sending: Sending) -> None:
        await sending.until_at_rest()
        [worker] = sending.world.workers
        began = sending.world.clock.seconds
        subscriptions.sign_up(sending.room.settings, publishers.find(SLUG), guest, proof)
        await asyncio.sleep(1)
        worker.awake.clear()
        await asyncio.sleep(39)
        worker.awake.set()
        await asyncio.sleep(60)
        [letter] = [one for one in sending.relay.taken if one.recipient == guest]
        assert letter.at - began < THINKS

    answers = lambda at, who, number: (  # noqa: E731
        Answer("250 2.1.5 Ok", delay=THINKS) if (at, who, number) == ("rcpt", guest, 0) else None
    )
    playing(answers, people(3), story)


def test_a_release_goes_on_when_its_lease_could_not_be_renewed_for_a_while(
    playing: Playing,
) -> None:
    followers = people(12)

    async def story(sending: Sending) -> None:
        await asyncio.sleep(1)
        [worker] = sending.world.workers
        worker.awake.clear()
        await asyncio.sleep(39)
        worker.awake.set()
        receipt = await sending.until_at_rest()
        assert (receipt.state, receipt.accepted) == ("done", 12)
        assert sending.taken() == Counter(followers)

    thinks = script((followers[3], "rcpt", Answer("250 2.1.5 Ok", delay=THINKS)))
    playing(thinks, followers, story, connections=1)


def test_what_waits_for_all_answers_waits_for_the_last() -> None:
    async def wait() -> list[bool]:
        answers = ReleaseAnswers()
        first, second = answers.write(), answers.write()
        waiting = asyncio.create_task(answers.settled(at_most=3600))
        done = []
        for number in (second, first):
            await asyncio.sleep(0)
            done.append(waiting.done())
            answers.answered(number)
        await asyncio.wait_for(waiting, 60)
        return done

    assert asyncio.run(wait()) == [False, False]


def probe_is_due() -> None:
    with transaction() as session:
        session.execute(update(RelayState).values(probe_after=database_now() - 1000))


def test_letters_and_releases_take_turns_with_probes(room: SendingRoom) -> None:
    another_process(partial(backoff.begin_by_connection, permanent=False))
    taken = []
    for _ in range(6):
        probe_is_due()
        for letter in (False, True):
            with transaction() as session:
                if backoff.claim_probe(session, letter=letter, alone=False) is not None:
                    taken.append(letter)
    assert taken == [True, False] * 3


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_who_was_put_off_is_probed_with_if_there_is_nobody_else(
    room: SendingRoom, number: int
) -> None:
    room.relay.answer(BOB, at="rcpt", reply="450 4.2.2 Busy")
    release_id = room.publish()
    room.drain()
    assert room.receipt(release_id).deferred == 1
    with transaction() as session:
        [probe] = claim_for_probe(session, 60, number)
        assert list(probe.members) == [room.subscription(BOB).id]


@pytest.mark.parametrize(("hours", "refused"), [(5, 0), (20, 0), (30, 1)])
def test_a_mailbox_has_to_be_refused_for_a_day_to_be_believed_alone(
    playing: Playing, hours: int, refused: int
) -> None:
    async def story(sending: Sending) -> None:
        await asyncio.sleep(hours * 3600)
        sending.relay.script = lambda *_: None
        receipt = await sending.until_at_rest()
        assert (receipt.state, receipt.refused) == ("done", refused)

    playing(script((ADA, "rcpt", DEAD)), people(12), story)
