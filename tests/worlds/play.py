"""Plays worlds: the plan of one, or those of many seeds on all processors."""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from mailer.fanout import database_thread
from mailer.fanout.delivery import dispatcher, release
from mailer.storage.migrations import upgrade
from tests.support.world import World, world
from tests.worlds.plan import Plan, drawn
from tests.worlds.relay import MoodyRelay
from tests.worlds.story import Story

_MAIL_DOMAIN = "mail.example.org"
_LEASE_SECONDS = 60
# A process looks at the rows twenty times a second, and asks a database that is away twice: that is
# most of what a long world would cost.
_LOOK_SECONDS = 30.0
_AGAIN_AFTER_SECONDS = 3.0
_COLLECT_EVERY = 10
"""Worlds, after which the objects of those before are collected."""


@dataclass(frozen=True)
class Ending:
    """How a world ended."""

    seed: int
    seconds: float
    broken: tuple[str, ...]
    """The promises that were broken, each once."""
    seen: frozenset[str]
    """The kinds of events that had an effect."""
    worst: dict[str, float]
    """The worst value of each bound."""
    brackets: dict[str, int]
    """The healthy recipients who have not got a release, by the bracket that allows it."""
    replay: tuple[tuple[float, str, str], ...]
    """What the relay was asked, and when: the same for the same plan."""


def play(plan: Plan, template: Path, monkeypatch: pytest.MonkeyPatch) -> Ending:
    """Play a world to its end, on a copy of a migrated SQLite database."""

    async def story(running: World) -> Ending:
        played = Story(running, plan)
        await played.play()
        return Ending(
            plan.seed,
            running.clock.seconds,
            tuple(played.watch.broken),
            frozenset(played.seen),
            played.watch.worst,
            dict(played.judgement.brackets),
            tuple((one.at, one.stage, one.recipient) for one in running.relay.answered),
        )

    for module in (dispatcher, release):
        monkeypatch.setattr(module, "LOOK_SECONDS", _LOOK_SECONDS)
    monkeypatch.setattr(database_thread, "_AGAIN_AFTER_SECONDS", _AGAIN_AFTER_SECONDS)
    settings = {
        "connections": plan.connections,
        "lease_seconds": _LEASE_SECONDS,
        "mail_domain": _MAIL_DOMAIN,
        "sweep_seconds": plan.sweep_seconds,
    }
    with world(template, monkeypatch, lambda clock: MoodyRelay(clock, plan), **settings) as made:
        return made.run(story)


def play_many(seeds: Iterable[int]) -> Iterator[Ending]:
    """Play the worlds of many seeds, in no order; an exception is a promise that was broken."""
    with migrated() as template, get_context("fork").Pool(os.cpu_count()) as pool:
        work = ((seed, template) for seed in seeds)
        yield from pool.imap_unordered(_play_one, work)


def play_quietly(plan: Plan, template: Path) -> Ending:
    """Play a world, and return an exception as a promise that was broken."""
    try:
        with pytest.MonkeyPatch.context() as monkeypatch:
            return play(plan, template, monkeypatch)
    except Exception as error:  # noqa: BLE001 - whatever it is, it was not promised
        broken = (f"raised {type(error).__name__}: {str(error).splitlines()[0][:100]}",)
        return Ending(plan.seed, 0.0, broken, frozenset(), {}, {}, ())


def _play_one(work: tuple[int, Path]) -> Ending:
    seed, template = work
    if not seed % _COLLECT_EVERY:
        gc.collect()
    return play_quietly(drawn(seed), template)


@contextmanager
def migrated() -> Iterator[Path]:
    """Make a migrated database; what is logged from now on is by design, and not shown."""
    logging.disable()
    with TemporaryDirectory() as folder:
        template = Path(folder) / "template.sqlite3"
        upgrade(f"sqlite:///{template}")
        gc.collect()
        gc.freeze()
        gc.disable()
        yield template
        gc.enable()
