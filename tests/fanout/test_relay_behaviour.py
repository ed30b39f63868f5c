"""Relays that answer as real ones do, on the virtual clock: who has the release, and when."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from dataclasses import replace

import pytest

from mailer.domain import publishers
from mailer.domain.followers import follower_csv, subscriptions
from mailer.domain.followers.subscriptions import Evidence
from mailer.storage.database import transaction
from mailer.storage.models import Release
from tests.support.press_room import DRAFT, SLUG
from tests.support.scripted_relay import Answer, Stage, script
from tests.support.sending import ADA, DEAD, FULL, Playing, Sending, everybody, people, some
from tests.support.world import World

GUEST = "guest@example.org"
PROOF = Evidence(language="nb", page="test", network=None)


@pytest.mark.parametrize("stage", ["rcpt", "dot"])
@pytest.mark.parametrize(
    "reply",
    ["452 4.2.2 Full", "451 4.3.0 Later", "421 4.7.28 Too much", "450 4.7.1 Grey", "454 No"],
)
def test_one_who_is_put_off_holds_nobody_up_and_is_given_up_alone(
    playing: Playing, stage: Stage, reply: str
) -> None:
    async def story(sending: Sending) -> None:
        await asyncio.sleep(5)
        assert sending.taken() == Counter(followers[1:])
        receipt = await sending.until_at_rest()
        assert (receipt.state, receipt.accepted, receipt.refused) == ("done", 199, 1)
        assert sending.room.outcome(sending.release_id, ADA) == ("refused", "expired")

    followers = people(200)
    playing(script((ADA, stage, Answer(reply))), followers, story)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("stage", ["rcpt", "data", "dot"])
@pytest.mark.parametrize(
    "answer",
    [
        Answer("451 4.3.0 Later"),
        Answer("421 4.7.0 Closing"),
        DEAD,
        Answer("554 5.7.1 No"),
        Answer("250 Ok", closes=True),
        Answer(None, closes=True, keeps=False),
    ],
    ids=["451", "421", "550", "554", "closes after", "closes before"],
)
def test_a_fifth_who_are_sick_hold_nobody_up(
    playing: Playing, workers: int, stage: Stage, answer: Answer
) -> None:
    if answer.reply == "250 Ok" and stage == "data":
        answer = replace(answer, reply="354 Go on")
    sick = some(0.2, stage, answer)
    followers = people(300)
    healthy = [one for one in followers if sick(stage, one, 0) is None]

    async def story(sending: Sending) -> None:
        await asyncio.sleep(5)
        taken = sending.taken()
        assert set(healthy) <= set(taken)
        assert sending.receipt.state in ("sending", "done")
        assert max(taken.values()) == 1
        assert sending.receipt.waiting == 0

    playing(sick, followers, story, workers)


def test_everybody_sick_at_random_has_it_when_they_are_well(playing: Playing) -> None:
    def answers(stage: Stage, recipient: str, number: int) -> Answer | None:
        draw = random.Random(f"{recipient} {number}").random()
        if stage == "rcpt" and recipient and draw < 0.05:
            return Answer("451 4.3.0 Later")
        if stage == "dot" and draw > 0.98:
            return Answer(None, closes=True, keeps=draw > 0.99)
        return None

    async def story(sending: Sending) -> None:
        await asyncio.sleep(5)
        assert sending.receipt.accepted > 350
        receipt = await sending.until_at_rest()
        assert (receipt.state, receipt.refused) == ("done", 0)
        assert receipt.accepted + receipt.skipped == 400
        assert {
            one for one, copies in sending.taken().items() if copies > 1
        } <= sending.room.uncertain(sending.release_id)

    playing(answers, people(400), story, 2)


class Broken:
    """Refuses everybody from a moment on, until it is mended."""

    def __init__(self, begins: float, answer: Answer, ends: float = 1e9) -> None:
        self.begins, self.answer, self.ends = begins, answer, ends
        self.world: World | None = None

    def __call__(self, stage: Stage, _recipient: str, _number: int) -> Answer | None:
        seconds = self.world.clock.seconds if self.world else 0.0
        return self.answer if stage == "rcpt" and self.begins <= seconds < self.ends else None


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("reply", ["554 5.7.1 Not from you", "550 5.1.1 No such user"])
def test_a_relay_that_refuses_everybody_from_a_moment_on_costs_nobody_the_release(
    playing: Playing, reply: str, workers: int
) -> None:
    broken = Broken(0.5, Answer(reply))

    async def story(sending: Sending) -> None:
        broken.world = sending.world
        receipt = await sending.until_at_rest(0.1)
        assert (receipt.state, receipt.refused) == ("paused", 0)
        assert 0 < receipt.accepted < 600
        assert reply.split()[1] in sending.because
        named = len(sending.relay.named)
        for _ in range(2):
            # Still broken: it pauses again, and nobody is given up.
            sending.room.resume(sending.release_id)
            receipt = await sending.until_at_rest(0.1)
            assert (receipt.state, receipt.refused) == ("paused", 0)
        assert len(sending.relay.named) - named < 2 * 2 * 16 * workers + 2 * 20
        broken.ends = sending.world.clock.seconds
        sending.room.resume(sending.release_id)
        receipt = await sending.until_at_rest(2)
        assert (receipt.state, receipt.accepted, receipt.refused) == ("done", 600, 0)
        assert sending.taken() == Counter(people(600))

    playing(broken, people(600), story, workers, relay={"messages_a_second": 500.0})


def test_after_a_stop_nobody_who_was_doubted_is_refused(playing: Playing) -> None:
    async def story(sending: Sending) -> None:
        await sending.until_at_rest(0.1)
        sending.room.stop(sending.release_id)
        receipt = await sending.until_at_rest(0.1)
        assert (receipt.state, receipt.refused, receipt.skipped) == ("stopped", 0, 100)

    playing(everybody("rcpt", DEAD), people(100), story)


def test_forty_followers_of_two_domains_are_not_given_up_by_a_wrong_map(playing: Playing) -> None:
    async def story(sending: Sending) -> None:
        receipt = await sending.until_at_rest(1)
        assert (receipt.state, receipt.refused) == ("paused", 0)

    playing(everybody("rcpt", DEAD), people(40, domains=2), story)


def test_a_domain_that_refuses_is_tried_again_and_then_believed(playing: Playing) -> None:
    followers = people(300)
    answers = lambda at, who, _: DEAD if at == "rcpt" and "@domain7." in who else None  # noqa: E731

    async def story(sending: Sending) -> None:
        receipt = await sending.until_at_rest(26)
        assert (receipt.state, receipt.accepted, receipt.refused) == ("done", 285, 15)

    playing(answers, followers, story)


def test_a_relay_that_is_broken_for_a_second_costs_an_hour_and_nobody(playing: Playing) -> None:
    broken = Broken(10.0, DEAD, 11.0)

    async def story(sending: Sending) -> None:
        broken.world = sending.world
        receipt = await sending.until_at_rest(2)
        assert (receipt.state, receipt.refused) == ("done", 0)
        assert sending.taken() == Counter(people(300))

    playing(broken, people(300), story, messages_a_second=10)


def test_a_press_room_of_one_whose_mailbox_is_dead_ends_within_26_hours(playing: Playing) -> None:
    async def story(sending: Sending) -> None:
        receipt = await sending.until_at_rest(26)
        assert (receipt.state, receipt.refused) == ("done", 1)

    playing(everybody("rcpt", DEAD), [ADA], story)


def test_a_dead_and_a_full_mailbox_end_by_themselves_and_are_told_apart(playing: Playing) -> None:
    *_, last = followers = people(12)

    async def story(sending: Sending) -> None:
        receipt = await sending.until_at_rest()
        assert receipt.reasons == {"refused": {"5.1.1": 1, "expired": 1}}

    playing(script((last, "rcpt", DEAD), (ADA, "rcpt", FULL)), followers, story)


def test_who_never_answers_the_dot_has_two_copies_at_most(playing: Playing) -> None:
    async def story(sending: Sending) -> None:
        receipt = await sending.until_at_rest()
        assert (receipt.state, receipt.accepted) == ("done", 199)
        assert sending.taken()[ADA] == 2
        assert sending.room.outcome(sending.release_id, ADA) == ("skipped", "unanswered")
        assert sending.room.uncertain(sending.release_id) == {ADA}

    playing(script((ADA, "dot", Answer(None, closes=True, keeps=True))), people(200), story)


@pytest.mark.parametrize("number", [12, 200])
@pytest.mark.parametrize(
    "first", [Answer("250 2.1.5 Ok"), DEAD, FULL], ids=["well", "dead", "full"]
)
def test_a_filter_that_cuts_every_letter_pauses_the_release(
    playing: Playing, number: int, first: Answer
) -> None:
    async def story(sending: Sending) -> None:
        receipt = await sending.until_at_rest(1)
        assert (receipt.state, receipt.accepted) == ("paused", 0)

    cut = Answer(None, closes=True, keeps=False)
    playing(script((ADA, "rcpt", first), ("", "dot", cut)), people(number), story)


def test_a_filter_that_begins_midway_gets_twenty_letters_and_no_more(playing: Playing) -> None:
    async def story(sending: Sending) -> None:
        sending.relay.script = lambda stage, _recipient, _number: (
            cut if stage == "dot" and len(sending.relay.taken) >= 50 else None
        )
        receipt = await sending.until_at_rest(1)
        assert (receipt.state, receipt.accepted) == ("paused", 50)
        # Each of the other connections may have written a dot already.
        assert len(sending.room.uncertain(sending.release_id)) < 20 + 4

    cut = Answer(None, closes=True, keeps=False)
    playing(lambda *_: None, people(200), story, connections=4)


def test_full_mailboxes_between_do_not_hide_a_filter_that_cuts_every_letter(
    playing: Playing,
) -> None:
    cut = Answer(None, closes=True, keeps=False)
    full: list[tuple[str, Stage, Answer]] = [(one, "rcpt", FULL) for one in people(200)[::10]]

    async def story(sending: Sending) -> None:
        receipt = await sending.until_at_rest(1)
        assert (receipt.state, receipt.skipped) == ("paused", 0)

    playing(script(*full, ("", "dot", cut)), people(200), story)


@pytest.mark.parametrize("stage", ["banner", "hello"])
def test_a_relay_that_refuses_connections_for_a_minute_costs_a_minute_or_so(
    playing: Playing, stage: Stage
) -> None:
    async def story(sending: Sending) -> None:
        await asyncio.sleep(60)
        assert not sending.taken()
        sending.relay.heal()
        receipt = await sending.until_at_rest(0.1)
        assert (receipt.state, receipt.accepted) == ("done", 200)

    playing(everybody(stage, Answer("554 5.7.1 Not you", closes=True)), people(200), story)


def test_a_relay_that_refuses_connections_for_long_pauses_everything(playing: Playing) -> None:
    async def story(sending: Sending) -> None:
        second = sending.room.publish()
        receipt = await sending.until_at_rest(0.5)
        assert (receipt.state, receipt.waiting) == ("paused", 20)
        assert sending.room.receipt(second).state == "paused"
        assert 900 <= sending.world.clock.seconds < 1800
        assert "resume --all" in sending.because

    playing(everybody("banner", Answer("554 5.7.1 Not you", closes=True)), people(20), story)


@pytest.mark.parametrize("minutes", [11, 60])
@pytest.mark.parametrize("number", [12, 300])
@pytest.mark.parametrize("answer", [Answer("451 4.3.0 Later"), Answer(None, closes=True)])
def test_an_outage_costs_at_most_five_minutes_more_or_twice_the_time_for_few(
    playing: Playing, answer: Answer, number: int, minutes: int
) -> None:
    stage: Stage = "rcpt" if answer.reply else "banner"

    async def story(sending: Sending) -> None:
        await asyncio.sleep(minutes * 60)
        sending.relay.heal()
        receipt = await sending.until_at_rest(3)
        assert (receipt.state, receipt.accepted) == ("done", number)
        few = number < 100 and answer.reply
        last = max(taken.at for taken in sending.relay.taken)
        assert last < minutes * 60 * 2 + 60 if few else minutes * 60 + 300 + 60

    playing(everybody(stage, answer), people(number), story)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["mail", "rcpt", "dot"])
@pytest.mark.parametrize("before", [1, 30])
@pytest.mark.parametrize("seconds", [15, 75])
def test_an_outage_soon_after_the_first_acceptances_costs_at_most_five_minutes_more(
    playing: Playing, seconds: int, before: int, stage: Stage
) -> None:
    worlds: list[World] = []
    numbers = itertools.count()
    began: list[float] = []

    def answers(at: Stage, _recipient: str, _number: int) -> Answer | None:
        if at != stage or not worlds or next(numbers) < before:
            return None
        now = worlds[0].clock.seconds
        began.append(now)
        return Answer("451 4.3.0 Later") if now < began[0] + seconds else None

    async def story(sending: Sending) -> None:
        worlds.append(sending.world)
        receipt = await sending.until_at_rest(1)
        assert (receipt.state, receipt.accepted) == ("done", 1_000)
        last = max(taken.at for taken in sending.relay.taken)
        # The sweep looks every ten seconds.
        assert last < began[0] + seconds + 300 + 10

    playing(answers, people(1_000), story)


def test_all_connections_that_the_relay_allows_are_used(playing: Playing) -> None:
    async def story(sending: Sending) -> None:
        await asyncio.sleep(10)
        assert sending.receipt.state == "done"
        assert sending.taken() == Counter(people(600))

    playing(lambda *_: None, people(600), story, 2, relay={"connections": 4})


def test_without_pipelining_four_dead_mailboxes_are_told_from_a_broken_relay(
    playing: Playing,
) -> None:
    followers = people(200)

    async def story(sending: Sending) -> None:
        await asyncio.sleep(10)
        assert (sending.receipt.state, sending.receipt.refused) == ("done", 4)

    hello = Answer("250-relay.example\r\n250 ENHANCEDSTATUSCODES")
    dead: list[tuple[str, Stage, Answer]] = [(one, "rcpt", DEAD) for one in followers[20:24]]
    playing(script(("", "hello", hello), *dead), followers, story, connections=1)


@pytest.mark.parametrize("stage", ["mail", "rcpt", "dot"])
def test_a_relay_that_ends_connections_after_some_messages_costs_nobody_anything(
    playing: Playing, stage: Stage
) -> None:
    async def story(sending: Sending) -> None:
        await asyncio.sleep(10)
        receipt = sending.receipt
        assert (receipt.state, receipt.accepted) == ("done", 600)
        assert sending.taken() == Counter(people(600))

    relay = {"messages_a_connection": (20, stage)}
    playing(lambda *_: None, people(600), story, relay=relay, connections=4)


@pytest.mark.parametrize("seed", range(12))
def test_after_a_pause_two_recipients_a_connection_are_named_at_most(
    playing: Playing, seed: int
) -> None:
    chance = random.Random(seed)
    named: Counter[bool] = Counter()
    paused = False

    def answers(stage: Stage, _recipient: str, _number: int) -> Answer | None:
        named[paused] += stage == "rcpt"
        if stage not in ("rcpt", "data", "dot") or chance.random() > 0.3:
            return None
        reply = chance.choice(("421 4.7.0 Closing", "451 4.3.0 Later", None))
        return Answer(reply, closes=reply is None, delay=chance.choice((0, 0.01, 0.3)))

    async def story(sending: Sending) -> None:
        nonlocal paused
        await asyncio.sleep(chance.uniform(0.2, 2))
        sending.room.pause(sending.release_id)
        paused = True
        before = named[False]
        await asyncio.sleep(60)
        assert before
        assert named[True] <= 2 * 4
        assert sending.receipt.waiting

    playing(answers, people(3_000), story, connections=4)


def test_after_a_refused_sender_nobody_is_named_until_the_database_says_that_it_may(
    playing: Playing,
) -> None:
    async def story(sending: Sending) -> None:
        [worker] = sending.world.workers
        refused: list[float] = []

        def once(stage: Stage, _recipient: str, _number: int) -> Answer | None:
            if stage != "mail" or refused or len(sending.relay.taken) < 50:
                return None
            refused.append(sending.world.clock.seconds)
            worker.awake.clear()
            return Answer("451 4.3.0 Later")

        sending.relay.script = once
        await asyncio.sleep(1)
        sending.room.pause(sending.release_id)
        worker.awake.set()
        await asyncio.sleep(60)
        assert refused
        # The press officer is named later: the notice of the pause is for them.
        followers = [at for at, one in sending.relay.named if one.startswith("follower")]
        assert max(followers) == refused[0]
        assert sending.receipt.waiting

    playing(lambda *_: None, people(200), story, connections=1)


def test_two_days_of_pause_make_nobody_expire(playing: Playing) -> None:
    async def story(sending: Sending) -> None:
        await asyncio.sleep(60)
        assert sending.receipt.deferred == 1
        sending.room.pause(sending.release_id)
        await asyncio.sleep(49 * 3600)
        sending.relay.heal()
        sending.room.resume(sending.release_id)
        receipt = await sending.until_at_rest(0.1)
        assert (receipt.state, receipt.accepted) == ("done", 12)

    playing(script((ADA, "rcpt", Answer("450 4.7.1 Later"))), people(12), story)


@pytest.mark.parametrize("reply", ["552 5.3.4 Too big", "530 5.7.0 Log in first"])
def test_a_sender_who_is_refused_for_good_pauses_that_release(playing: Playing, reply: str) -> None:
    async def story(sending: Sending) -> None:
        receipt = await sending.until_at_rest(0.2)
        assert (receipt.state, receipt.waiting) == ("paused", 50)
        assert reply.split()[1] in sending.because

    playing(everybody("mail", Answer(reply)), people(50), story)


def test_a_sender_who_is_put_off_for_two_days_pauses_the_release(playing: Playing) -> None:
    async def story(sending: Sending) -> None:
        await asyncio.sleep(120)
        assert sending.receipt.state == "sending"
        with transaction() as session:
            # The rests so far took two days, but for the last ten.
            session.get_one(Release, sending.release_id).rests = 590
        receipt = await sending.until_at_rest(1)
        assert (receipt.state, receipt.waiting) == ("paused", 1)

    playing(everybody("mail", Answer("450 4.1.8 Unknown sender domain")), people(1), story)


@pytest.mark.slow
def test_a_large_domain_that_is_down_for_a_day_holds_nobody_up(playing: Playing) -> None:
    down = [f"reader{number:03}@down.example" for number in range(300)]
    others = people(300)
    answers = lambda at, who, _: (  # noqa: E731
        Answer("451 4.4.1 No answer") if at == "rcpt" and who.endswith("@down.example") else None
    )

    async def story(sending: Sending) -> None:
        await asyncio.sleep(10)
        assert set(others) <= set(sending.taken())
        await asyncio.sleep(86_400)
        sending.relay.heal()
        receipt = await sending.until_at_rest(6)
        assert (receipt.state, receipt.accepted) == ("done", 600)

    playing(answers, [*down, *others], story)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["anywhere", "at the end"])
def test_a_hundred_full_mailboxes_end_by_themselves_and_hold_up_no_later_release(
    playing: Playing, where: str
) -> None:
    followers = people(400)
    at_the_end = followers[-110:]
    sick = set(at_the_end if where == "at the end" else random.Random(1).sample(followers, 110))

    async def story(sending: Sending) -> None:
        await asyncio.sleep(3 * 3600)
        moment = sending.world.clock.seconds
        sending.room.publish()
        await asyncio.sleep(5)
        later = {one.recipient for one in sending.relay.taken if one.at >= moment}
        assert later == set(followers) - sick
        receipt = await sending.until_at_rest()
        assert (receipt.state, receipt.accepted, receipt.refused) == ("done", 290, 110)

    playing(lambda at, who, _: FULL if at == "rcpt" and who in sick else None, followers, story)


def test_greylisting_of_everybody_costs_its_time_and_a_quarter_of_an_hour(
    playing: Playing,
) -> None:
    first: dict[str, float] = {}
    clock: list[World] = []

    def answers(stage: Stage, recipient: str, _number: int) -> Answer | None:
        if stage != "rcpt" or not clock:
            return None
        seconds = clock[0].clock.seconds
        waited = seconds - first.setdefault(recipient, seconds)
        return None if waited >= 300 else Answer("451 4.7.1 Greylisted")

    async def story(sending: Sending) -> None:
        clock.append(sending.world)
        receipt = await sending.until_at_rest(1)
        assert (receipt.state, receipt.accepted) == ("done", 500)
        assert max(taken.at for taken in sending.relay.taken) < 20 * 60

    playing(answers, people(500), story)


def test_another_press_rooms_refused_sender_holds_nobody_up(playing: Playing) -> None:
    vika = replace(DRAFT, slug="vika", name="Vika", from_address="presse@vika.example")
    worlds: list[World] = []

    def answers(stage: Stage, _recipient: str, _number: int) -> Answer | None:
        refused = stage == "mail" and worlds and "vika.example" in worlds[0].relay.sender
        return Answer("450 4.1.8 Unknown sender domain") if refused else None

    async def story(sending: Sending) -> None:
        worlds.append(sending.world)
        publishers.add(vika)
        lines = ["address", *(f"reader{number}@vika.example" for number in range(300))]
        follower_csv.import_followers("vika", lines, locales=("nb",))
        other = replace(sending.room, publisher=publishers.find("vika"))
        refused = other.publish()
        await asyncio.sleep(30)
        first = sending.room.publish()
        began = sending.world.clock.seconds
        await asyncio.sleep(10)
        assert sending.room.receipt(first).state == "done"
        assert max(taken.at for taken in sending.relay.taken) - began < 5
        assert other.receipt(refused).waiting == 300
        sending.relay.heal()
        await asyncio.sleep(600)
        assert other.receipt(refused).state == "done"

    playing(answers, people(300), story)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["rcpt", "dot"])
def test_a_press_room_whose_letters_are_all_put_off_holds_up_no_other_for_hours(
    playing: Playing, stage: Stage
) -> None:
    vika = replace(DRAFT, slug="vika", name="Vika", from_address="presse@vika.example")

    def answers(at: Stage, recipient: str, _number: int) -> Answer | None:
        return Answer("451 4.7.1 Later") if at == stage and "@vika" in recipient else None

    async def story(sending: Sending) -> None:
        await sending.until_at_rest()
        publishers.add(vika)
        lines = ["address", *(f"reader@vika{number}.example" for number in range(1_200))]
        follower_csv.import_followers("vika", lines, locales=("nb",))
        other = replace(sending.room, publisher=publishers.find("vika"))
        other.publish()
        await asyncio.sleep(600)
        began = sending.world.clock.seconds
        release_id = sending.room.publish(reference="r2", title="Another")
        await asyncio.sleep(900)
        # A probe comes every five minutes then, and one of two is with somebody never tried.
        assert sending.room.receipt(release_id).state == "done"
        assert max(taken.at for taken in sending.relay.taken) < began + 900

    playing(answers, people(12), story)


def test_one_silent_recipient_of_the_outbox_holds_up_no_other_letter(playing: Playing) -> None:
    async def story(sending: Sending) -> None:
        room = sending.room
        subscriptions.sign_up(room.settings, publishers.find(SLUG), ADA, PROOF)
        await asyncio.sleep(20)
        began = sending.world.clock.seconds
        subscriptions.sign_up(room.settings, publishers.find(SLUG), GUEST, PROOF)
        await asyncio.sleep(1)
        [letter] = [one for one in sending.relay.taken if one.recipient == GUEST]
        assert letter.at - began < 1

    playing(script((ADA, "rcpt", Answer(None))), ["other@example.org"], story)
