"""What a reply means by itself, and which refusals the answers of one release speak for."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.fanout.answers.refusals import MANY_IN_A_ROW, ReleaseAnswers
from mailer.fanout.answers.replies import asks_to_slow_down, classify
from mailer.mail.smtp_protocol import Reply, Stage


def reply(code: int, enhanced: str | None = None) -> Reply:
    return Reply(code, enhanced, "said the relay")


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (reply(250, "2.0.0"), "accepted"),
        (reply(354), "deferred"),
        (reply(450, "4.2.2"), "deferred"),
        (reply(452), "deferred"),
        (reply(421, "4.7.28"), "deferred"),
        (reply(451, "4.3.0"), "deferred"),
        (reply(450, "5.1.1"), "deferred"),
        (reply(550, "5.1.1"), "doubted"),
        (reply(554), "doubted"),
        (reply(552, "4.2.2"), "doubted"),
    ],
)
def test_an_answer_to_one_recipient(answer: Reply, kind: str) -> None:
    assert classify(answer).kind == kind


@pytest.mark.parametrize(
    ("stage", "answer", "expected"),
    [
        ("rcpt", reply(451, "4.3.0"), True),
        ("rcpt", reply(454, "4.7.0"), True),
        ("dot", reply(421), True),
        ("rcpt", reply(450, "4.1.8"), False),
        ("dot", reply(452, "4.2.2"), False),
        ("rcpt", reply(550, "5.7.1"), False),
        ("dot", reply(250), False),
        ("connect", reply(421, "4.7.0"), True),
        ("connect", reply(554), False),
        ("auth", reply(535), False),
    ],
)
def test_what_may_mean_that_we_send_too_much(
    stage: Stage, answer: Reply, *, expected: bool
) -> None:
    assert asks_to_slow_down(stage, answer) is expected


class Exchange:
    """The envelopes of one release: a letter for each in order, and how many are in flight."""

    def __init__(self, healthy: Sequence[bool], together: int) -> None:
        self.answers = ReleaseAnswers()
        self.believed: list[int] = []
        self.marked: list[int] = []
        self._flying: list[tuple[int, int]] = []
        for number, _ in enumerate(healthy):
            if len(self._flying) == together:
                self._read(healthy)
            self._flying.append((number, self.answers.write()))
        while self._flying:
            self._read(healthy)

    def _read(self, healthy: Sequence[bool]) -> None:
        number, written = self._flying.pop(0)
        if healthy[number]:
            self.answers.accepted(written)
        else:
            self.answers.refused(written, number)
        believed, marked = self.answers.judge()
        self.believed += believed
        self.marked += marked


def longest_run_with(healthy: Sequence[bool], number: int) -> int:
    first = last = number
    while first > 0 and not healthy[first - 1]:
        first -= 1
    while last + 1 < len(healthy) and not healthy[last + 1]:
        last += 1
    return last - first + 1


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 16))
def test_a_refusal_is_believed_if_somebody_after_it_was_accepted_and_it_was_not_one_of_five(
    healthy: list[bool], together: int
) -> None:
    exchange = Exchange(healthy, together)
    for number, accepted in enumerate(healthy):
        # Read when this one was full in flight: the envelopes written later.
        spoken_for = not accepted and any(healthy[number + together :])
        in_a_row = longest_run_with(healthy, number) >= MANY_IN_A_ROW
        assert (number in exchange.believed) == (spoken_for and not in_a_row)
        assert (number in exchange.marked) == (spoken_for and in_a_row)
    assert len(exchange.believed) == len(set(exchange.believed))


def test_an_acceptance_that_was_under_way_before_the_refusal_does_not_speak() -> None:
    answers = ReleaseAnswers()
    first, second = answers.write(), answers.write()
    answers.refused(first, 1)
    answers.accepted(second)
    assert not any(answers.judge())
    answers.accepted(answers.write())
    assert answers.judge() == ([1], [])


def refuse_sender(
    answers: ReleaseAnswers, number: int | None = None, *, permanent: bool = False
) -> bool:
    """Refuse the sender of an envelope; returns whether the release has to rest."""
    return answers.sender_refused(number or answers.write(), permanent=permanent, rested=False)


def test_many_connections_whose_sender_is_refused_together_count_once() -> None:
    answers = ReleaseAnswers()
    together = [answers.write() for _ in range(16)]
    assert {refuse_sender(answers, one) for one in together} == {False}
    assert [refuse_sender(answers) for _ in range(9)] == [False] * 8 + [True]


@pytest.mark.parametrize(("permanent", "rest"), [(True, True), (False, False)])
def test_a_sender_just_taken_is_only_refused_for_good(permanent: bool, rest: bool) -> None:
    answers = ReleaseAnswers()
    answers.accepted(answers.write())
    assert [refuse_sender(answers, permanent=permanent) for _ in range(30)][-1] is rest


def test_little_is_kept_of_a_release_that_goes_well() -> None:
    answers = ReleaseAnswers()
    for number in range(1000):
        written = answers.write()
        if number % 3:
            answers.accepted(written)
        else:
            answers.refused(written, number)
        answers.judge()
    assert len(answers._refused) < 2 * MANY_IN_A_ROW


def test_who_waits_for_all_answers_waits_no_longer_than_that() -> None:
    async def wait() -> bool:
        answers = ReleaseAnswers()
        written = answers.write()
        waiting = asyncio.create_task(answers.settled(60))
        await asyncio.sleep(0)
        before = waiting.done()
        answers.accepted(written)
        await waiting
        return before

    assert not asyncio.run(wait())
