"""What can happen to the workers: killed, frozen, told to leave, given a wrong clock."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.faults.inserts import inserting, slow_inserts
from tests.faults.trial import QUICK, Trial
from tests.processes import alive, eventually, state

_LEASE_SECONDS = float(QUICK["MAILER_LEASE_SECONDS"])
_KILLS_A_FREEZE = 3


def kill_horse(trial: Trial) -> None:
    """Kill the process that sends, or the parent where it sends by itself, without Redis."""
    horses = trial.horses()
    for horse in horses:
        with suppress(ProcessLookupError):
            os.kill(horse, signal.SIGKILL)
    trial.over()
    if trial.service.pid("releases") in horses:
        trial.service.processes["releases"].wait()
        trial.service.start("releases")


def kill_parent(trial: Trial) -> None:
    """Kill the process that waits for the horse; the horse must not live on. Start another."""
    horses = trial.horses()
    trial.service.kill("releases")
    trial.over()
    trial.service.start("releases")
    eventually(lambda: not any(map(alive, horses)), "no orphan goes on sending")


def kill_group(trial: Trial) -> None:
    """Kill the whole worker at once, as a machine that loses power would. Start another."""
    everyone = {trial.service.pid("releases"), *trial.horses()}
    for one in everyone:
        with suppress(ProcessLookupError):
            os.killpg(one, signal.SIGKILL)
    trial.service.processes["releases"].wait()
    trial.over()
    trial.service.start("releases")


def kill_somehow(trial: Trial) -> None:
    """Kill the worker in one of these ways."""
    trial.chance.choice([kill_horse, kill_parent, kill_group])(trial)


@contextmanager
def two_workers(trial: Trial) -> Iterator[None]:
    """Let a second worker send along."""
    trial.colleague()
    yield


def freeze_horse(trial: Trial) -> None:
    """Freeze the process that sends for longer than its lease, while another worker takes over."""
    horse = eventually(lambda: _frozen(trial), "a process that sends is frozen")
    trial.last(_LEASE_SECONDS + 2)
    os.kill(horse, signal.SIGCONT)


def _frozen(trial: Trial) -> int:
    """Freeze one of those who send; 0 if it has just found nothing to send, and is gone."""
    horse = trial.chance.choice(trial.horses())
    with suppress(ProcessLookupError):
        os.kill(horse, signal.SIGSTOP)
    eventually(lambda: state(horse) in "TZX", "it stands still, or is gone")
    return horse if state(horse) == "T" else 0


def deploy(trial: Trial) -> None:
    """Tell the worker to leave, see that it does so well, and start the next version."""
    began = time.monotonic()
    trial.service.kill("releases", signal.SIGTERM)
    seconds = time.monotonic() - began
    trial.over()
    assert trial.service.processes["releases"].exit_code == 0
    trial.story.figures["seconds to exit"].append(seconds)
    trial.service.start("releases")


@contextmanager
def clock_ahead(trial: Trial) -> Iterator[None]:
    """Let a second worker send along whose clock is an hour ahead."""
    [library] = map(str, Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    trial.colleague(LD_PRELOAD=library, FAKETIME="+1h", DONT_FAKE_MONOTONIC="1")
    yield


def publish_and_kill_in_freeze(trial: Trial) -> None:
    """Kill the worker while it writes the audience down; there is all of it, or nothing."""
    seen: set[int] = set()
    with slow_inserts(trial.parts, "batches"):
        trial.publish()
        for _ in range(_KILLS_A_FREEZE):
            inserting(trial.parts, "batches", seen)
            for horse in trial.horses():
                with suppress(ProcessLookupError):
                    os.kill(horse, signal.SIGKILL)
            assert trial.receipt()["total"] == 0
            trial.story.strikes += 1
