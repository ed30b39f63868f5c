"""What so many answers of the relay tell: how many were throttled, and whether by chance."""

from __future__ import annotations

import random

import pytest

from mailer.fanout.answers.answer_count import AnswerCount


def answered(throttled: int, accepted: int) -> AnswerCount:
    """Count so many answers, in any order."""
    kinds = [True] * throttled + [False] * accepted
    random.Random(1).shuffle(kinds)
    count = AnswerCount()
    for one in kinds:
        count.add(1, accepted=int(not one), throttled=int(one), turns=0)
    return count


@pytest.mark.parametrize(
    ("throttled", "accepted", "expected", "more"),
    [
        (50, 950, 0.05, False),
        (65, 935, 0.05, False),
        (150, 850, 0.05, True),
        # Where nearly all are throttled, it is those who are not that say something.
        (970, 30, 0.97, False),
        (984, 16, 0.97, False),
        (1_986, 14, 0.97, True),
        (1_960, 40, 0.97, False),
        (196, 4, 0.97, False),
    ],
)
def test_more_are_throttled_than_expected_if_it_is_no_chance(
    throttled: int, accepted: int, expected: float, more: bool
) -> None:
    assert answered(throttled, accepted).exceeds(expected, by=0.02) is more


@pytest.mark.parametrize(("throttled", "accepted"), [(500, 500), (100, 900), (20, 980)])
def test_by_chance_is_seldom_exceeded_and_sometimes_reached(throttled: int, accepted: int) -> None:
    number = throttled + accepted
    share = throttled / number
    margin = answered(throttled, accepted).by_chance(share)
    draws = random.Random(2)
    shares = [sum(draws.random() < share for _ in range(number)) / number for _ in range(400)]
    beyond = sum(one > share + margin for one in shares) / len(shares)
    assert 0.005 < beyond < 0.06
