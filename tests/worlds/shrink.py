"""Makes the plan of a world that breaks a promise as short as it can be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from tests.worlds.plan import Event, Plan

_SIMPLEST: dict[str, Any] = {
    **dict.fromkeys(("rooms", "workers", "domains", "connections"), 1),
    **dict.fromkeys(("delay", "sick"), 0.0),
}


def shrunk(plan: Plan, breaks: Callable[[Plan], bool]) -> Plan:
    """Return the smallest plan that still breaks the promise, of those that are tried."""
    while (smaller := next((one for one in _smaller(plan) if breaks(one)), None)) is not None:
        plan = smaller
    return plan


def _smaller(plan: Plan) -> Iterator[Plan]:
    """Propose plans with less in them, the boldest first."""
    events = plan.events
    for number in range(len(events)):
        yield replace(plan, events=events[:number] + events[number + 1 :])
    for followers in (plan.followers // 2, plan.followers - 5, plan.followers - 1):
        if followers > 0:
            yield replace(plan, followers=followers)
    yield from (
        replace(plan, **{name: value})
        for name, value in _SIMPLEST.items()
        if getattr(plan, name) != value
    )
    for number, one in enumerate(events):
        for simpler in _simpler(one):
            yield replace(plan, events=(*events[:number], simpler, *events[number + 1 :]))


def _simpler(one: Event) -> Iterator[Event]:
    """Propose events with rounder and smaller numbers."""
    proposed = (
        replace(one, length=float(round(one.length))),
        replace(one, length=one.length // 2),
        replace(one, at=float(round(one.at))),
        replace(one, who=one.who % 10),
    )
    yield from (simpler for simpler in proposed if simpler != one)
