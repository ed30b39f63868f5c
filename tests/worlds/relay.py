"""The relay of a random world: its moods, its sick recipients, and all that it has answered."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from dataclasses import replace

from tests.support.scripted_relay import (
    Answer,
    Chances,
    ScriptedRelay,
    Stage,
    at_random,
    is_sick,
)
from tests.support.virtual_time import VirtualClock
from tests.worlds.plan import OF_RELAY, Event, Plan

_ENVELOPE: tuple[Stage, ...] = ("rcpt", "data", "dot")
_ALL: tuple[Stage, ...] = ("banner", "hello", "mail", *_ENVELOPE)
_CODES = ("450", "451", "452", "454", "421", "550", "551", "552", "554")
_DETAILS = ("1.1", "1.10", "2.0", "2.2", "3.0", "4.2", "7.0", "7.1", "7.500")
_GREY_SECONDS = (60.0, 300.0, 1800.0)
SICK = Chances(refusal=0.3, permanent=0.3, delay=0.02, silence=0.03, closing=0.1)
_FLAKY = Chances(refusal=0.1, permanent=0.3, delay=0.02, silence=0.01, closing=0.03, stages=_ALL)


class MoodyRelay(ScriptedRelay):
    """A relay that is in the mood of the event of its plan that began last and is not over."""

    def __init__(self, clock: VirtualClock, plan: Plan) -> None:
        super().__init__(clock, self._script, cuts=plan.seed)
        self.plan = plan
        self._moods = [one for one in plan.events if one.kind in OF_RELAY]
        self._of_sick = at_random(plan.seed, replace(SICK, sick=plan.sick))
        self._flaky = at_random(f"{plan.seed} flaky", _FLAKY)
        self._first_tries: defaultdict[str, float] = defaultdict(lambda: clock.seconds)

    def is_sick(self, recipient: str) -> bool:
        """Tell whether the relay never answers this recipient as the others."""
        return is_sick(self.plan.seed, recipient, self.plan.sick)

    def connect(self, protocol: asyncio.Protocol) -> None:
        """Take a connection, unless the relay is away."""
        mood = self._mood()
        if mood and mood.kind == "away":
            raise ConnectionRefusedError
        few = mood is not None and mood.kind == "few_connections"
        self.connections = 1 + mood.who % 4 if mood and few else None
        super().connect(protocol)

    def answer(self, stage: Stage, recipient: str = "", messages: int = 0) -> Answer:
        """Answer as the mood wants it, after the usual delay."""
        mood = self._mood()
        throttling = mood is not None and mood.kind == "throttling"
        self.messages_a_second = (0.5, 5.0, 50.0)[mood.who % 3] if mood and throttling else None
        answer = super().answer(stage, recipient, messages)
        return replace(answer, delay=answer.delay + self.plan.delay)

    def _mood(self) -> Event | None:
        now = self.clock.seconds
        lasting = [one for one in self._moods if one.at <= now < one.at + one.length]
        return lasting[-1] if lasting else None

    def _script(self, stage: Stage, recipient: str, number: int) -> Answer | None:
        mood = self._mood()
        found = None
        if mood is not None and mood.kind == "greylisting" and stage == "rcpt":
            found = self._greylisted(mood, recipient)
        elif mood is not None and mood.kind == "flaky":
            found = self._flaky(stage, recipient, number)
        elif mood is not None:
            found = _to_everybody(mood, stage)
        return found or self._of_sick(stage, recipient, number)

    def _greylisted(self, mood: Event, recipient: str) -> Answer | None:
        waits = _GREY_SECONDS[mood.who % len(_GREY_SECONDS)]
        if self.clock.seconds >= self._first_tries[recipient] + waits:
            return None
        return Answer(_reply(random.Random(mood.who), "4"))


def _to_everybody(mood: Event, stage: Stage) -> Answer | None:
    """Return what a mood answers everybody at its stage; the same each time."""
    draw = random.Random(mood.who)
    refusing = mood.kind == "refusing"
    if stage != draw.choice(_ALL if refusing else _ENVELOPE):
        return None
    if refusing:
        return Answer(_reply(draw), delay=draw.choice((0.0, 0.0, 2.0)))
    if mood.kind == "silent":
        return Answer(None, keeps=draw.random() < 0.5)
    if mood.kind == "closing":
        return Answer(None, closes=True, keeps=draw.random() < 0.5)
    return None


def _reply(draw: random.Random, first: str = "") -> str:
    """Draw code and enhanced code independently: the latter may be absent or of another class."""
    code = draw.choice([one for one in _CODES if one.startswith(first)])
    enhanced_class = draw.choice((code[0], code[0], "4", "5", ""))
    return f"{code} {enhanced_class}.{draw.choice(_DETAILS)} No" if enhanced_class else f"{code} No"
