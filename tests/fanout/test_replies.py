"""Judging by itself: what each answer means at each stage, and what a run of equal ones means."""

from __future__ import annotations

import pytest

from mailer.fanout.replies import RefusalStreak, Verdict, classify
from mailer.mail.smtp_protocol import Reply, Stage

GONE = Verdict("refused", "5.1.1")
BLOCKED = Verdict("refused", "5.7.1")


def reply(code: int, enhanced: str | None = None) -> Reply:
    return Reply(code, enhanced, "said the relay")


@pytest.mark.parametrize("stage", ["rcpt", "dot"])
@pytest.mark.parametrize(
    ("answer", "kind", "suppresses"),
    [
        (reply(250, "2.0.0"), "accepted", False),
        (reply(550, "5.1.1"), "refused", True),
        (reply(550, "5.1.10"), "refused", True),
        (reply(552, "5.2.2"), "refused", False),
        (reply(550, "5.7.1"), "refused", False),
        (reply(550, "5.1.2"), "refused", False),
        (reply(550), "refused", False),
        (reply(554, "5.1.100"), "refused", False),
        (reply(450, "4.2.2"), "deferred", False),
        (reply(451, "4.7.1"), "deferred", False),
        (reply(451), "deferred", False),
        (reply(421), "give_back", False),
        (reply(421, "4.7.0"), "give_back", False),
        (reply(452), "give_back", False),
        (reply(452, "4.2.2"), "give_back", False),
        (reply(451, "4.3.0"), "give_back", False),
        (reply(450, "4.3.2"), "give_back", False),
    ],
)
def test_an_answer_to_one_recipient(
    stage: Stage, answer: Reply, kind: str, suppresses: bool
) -> None:
    verdict = classify(stage, answer)
    assert (verdict.kind, verdict.suppresses) == (kind, suppresses)


@pytest.mark.parametrize("stage", ["connect", "auth", "mail"])
@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (reply(550, "5.1.1"), "pause"),
        (reply(535, "5.7.8"), "pause"),
        (reply(554), "pause"),
        (reply(451), "give_back"),
        (reply(454, "4.7.0"), "give_back"),
        (reply(421, "4.3.2"), "give_back"),
        (reply(452, "4.3.1"), "give_back"),
    ],
)
def test_an_answer_before_any_recipient_is_about_us(stage: Stage, answer: Reply, kind: str) -> None:
    verdict = classify(stage, answer)
    assert (verdict.kind, verdict.suppresses) == (kind, False)


@pytest.mark.parametrize("stage", ["connect", "auth", "mail"])
def test_a_pause_says_what_to_mend_without_the_words_of_the_relay(stage: Stage) -> None:
    sentence = classify(stage, Reply(550, "5.7.1", "go away ada@example.org")).sentence
    assert "5.7.1" in sentence
    assert "Mend" in sentence
    assert "ada@example.org" not in sentence


def test_a_dot_is_accepted_by_nothing_but_2yz() -> None:
    assert classify("dot", reply(354)).kind != "accepted"


def tried(streak: RefusalStreak, results: list[Verdict], domains: int = 3) -> list[int]:
    """Add the verdicts to a streak; returns the numbers of those that pause the release."""
    return [
        number
        for number, verdict in enumerate(results, start=1)
        if streak.add(number, f"follower@domain{number % domains}.example", verdict)
    ]


@pytest.mark.parametrize("verdict", [GONE, BLOCKED])
def test_the_twentieth_equal_refusal_over_three_domains_is_our_own_fault(verdict: Verdict) -> None:
    streak = RefusalStreak()
    assert tried(streak, [verdict] * 20) == [20]
    assert list(streak.refused) == list(range(1, 21))
    assert verdict.reason in streak.sentence


@pytest.mark.parametrize("domains", [1, 2])
def test_any_number_within_two_domains_is_the_fault_of_those(domains: int) -> None:
    assert tried(RefusalStreak(), [BLOCKED] * 100, domains) == []


@pytest.mark.parametrize(
    "between", [Verdict("accepted"), GONE, Verdict("refused", "5.7.26"), Verdict("deferred", "4")]
)
def test_anything_else_between_breaks_the_run(between: Verdict) -> None:
    assert tried(RefusalStreak(), [BLOCKED] * 19 + [between] + [BLOCKED] * 19) == []


def test_who_is_skipped_says_nothing_about_the_relay() -> None:
    assert tried(RefusalStreak(), [*[BLOCKED] * 19, Verdict("skipped", "left"), BLOCKED]) == [21]
