"""What can happen to a publish call: the web process dies anywhere in it, or it comes 50 times."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import count

from tests.faults.failpoint import HEADER
from tests.faults.trial import Trial
from tests.support.publishing_system import this_moment

WITH_FAILPOINTS = {"GUNICORN_CMD_ARGS": "--config=python:tests.faults.failpoint"}
_AT_ONCE = 50


def publish_through_kills(trial: Trial) -> None:
    """Call with a web process that dies at the first step, the second, and so on, till it lives.

    Each call is the same, with the same reference, so it must end as one release.
    """
    moment = this_moment()
    for step in count(1):
        try:
            answer = trial.publishing.publish(
                trial.reference(), {HEADER: str(step)}, published_at=moment
            )
        except OSError:
            trial.story.strikes += 1
        else:
            break
    trial.published.append(answer["id"])


def publish_at_once(trial: Trial) -> None:
    """Make the same call many times at the same moment; all get the same answer."""
    together = threading.Barrier(_AT_ONCE)
    reference = trial.reference()
    moment = this_moment()

    def call(_: int) -> int:
        together.wait()
        return int(trial.publishing.publish(reference, published_at=moment)["id"])

    with ThreadPoolExecutor(_AT_ONCE) as callers:
        [answer] = set(callers.map(call, range(_AT_ONCE)))
    trial.published.append(answer)
    trial.story.strikes += 1
