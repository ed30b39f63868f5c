"""What can happen to Redis: it dies, forgets, hangs, or was never there."""

from __future__ import annotations

import time

from tests.faults.trial import Trial


def kill_redis(trial: Trial) -> None:
    """Kill Redis, and start another, which is empty."""
    trial.parts.redis.kill()
    trial.parts.redis.start()


def flush_redis(trial: Trial) -> None:
    """Empty Redis."""
    trial.parts.redis.flush()


def freeze_redis(trial: Trial) -> None:
    """Freeze Redis; publishing is answered all the same, and sending goes on."""
    redis = trial.parts.redis
    redis.freeze()
    began = time.monotonic()
    trial.publishing.publish(f"frozen-{trial.story.strikes}", notify=False)
    trial.story.figures["seconds to publish"].append(time.monotonic() - began)
    trial.until_accepted(trial.receipt()["accepted"] + 1)
    redis.thaw()
