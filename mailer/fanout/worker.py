"""The worker process: waits for jobs in Redis, and looks at the rows every second without it.

Of a job it uses nothing but that it came: a program that can write to Redis can wake a worker, and
no more. RQ's own worker would call the function that a job names.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import select
import signal
import time
from functools import partial
from typing import NoReturn

from redis import RedisError

from mailer.config import TEMPLATES, Settings
from mailer.fanout.jobs import DRAINS, ShutdownFlag, run_until_shutdown
from mailer.mail import compose, letters
from mailer.storage.queues import Waiting

_PR_SET_PDEATHSIG = 1
_WITHOUT_REDIS_SECONDS = 1.0
_LOOK_SECONDS = 0.1

log = logging.getLogger(__name__)


class WorkerProcess:
    """One worker process from start to end, with and without Redis."""

    def __init__(self, settings: Settings, queue_name: str) -> None:
        redis_url = settings.redis_url
        self._drain = partial(run_until_shutdown, DRAINS[queue_name])
        self._waiting = Waiting(redis_url, queue_name) if redis_url is not None else None
        self._shutdown = ShutdownFlag()
        self._pid = os.getpid()
        letters.preload(TEMPLATES)
        compose.version(TEMPLATES)
        # Imported objects stay for good, so no work horse has to scan them for garbage.
        gc.freeze()

    def run(self) -> None:
        """Serve one queue until SIGTERM, each job in a process of its own."""
        self._shutdown.install()
        while not self._shutdown.is_set:
            if self._has_work() and not self._shutdown.is_set:
                self._work()

    def _has_work(self) -> bool:
        """Wait for a job; without Redis nothing tells of new rows, which are looked for again."""
        try:
            if self._waiting is not None:
                return self._waiting.job_came()
        except RedisError as error:
            log.warning("Redis is away: %s.", type(error).__name__)
        time.sleep(_WITHOUT_REDIS_SECONDS)
        return True

    def _work(self) -> None:
        """Fork the work horse and wait for it; a signal lets it hand back its batches."""
        horse = os.fork()
        if horse == 0:
            self._ride()
        told = False
        ended = os.pidfd_open(horse)
        while not select.select([ended], [], [], _LOOK_SECONDS)[0]:
            if self._shutdown.is_set and not told:
                os.kill(horse, signal.SIGTERM)
                told = True
            self._say_that_it_lives()
        os.close(ended)
        _, status = os.waitpid(horse, 0)
        if status:
            log.error("A work horse ended with %d.", os.waitstatus_to_exitcode(status))

    def _ride(self) -> NoReturn:
        """Work, and die with the parent: its successor would work beside this process."""
        try:
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() == self._pid:
                self._drain(self._shutdown)
            os._exit(0)
        except BaseException:
            log.exception("The work ended.")
            os._exit(1)

    def _say_that_it_lives(self) -> None:
        if self._waiting is not None:
            self._waiting.say_that_it_lives()
