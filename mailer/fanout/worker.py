"""The worker process: waits for jobs in Redis, and looks at the rows every second without it."""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import signal
import time
from contextlib import suppress
from types import FrameType

from redis import RedisError
from redis.client import Pipeline
from rq import Queue, Worker
from rq.exceptions import StopRequested
from rq.executions import Execution
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.worker.base import WorkerStatus

from mailer.config import TEMPLATES, Settings
from mailer.fanout.jobs import DRAINS, SHUTDOWN_SIGNALS, ShutdownFlag, run_until_shutdown
from mailer.mail import letters
from mailer.storage.database import db
from mailer.storage.queues import worker_connection

_PR_SET_PDEATHSIG = 1
_WITHOUT_REDIS_SECONDS = 1.0
# RQ waits for a job for worker_ttl - 15 seconds at a time, and cleans up only in between.
_WORKER_TTL_SECONDS = 20
_MAINTENANCE_SECONDS = 10
_MONITORING_SECONDS = 5

log = logging.getLogger(__name__)


class QueueWorker(Worker):
    """An RQ worker whose work horse goes on without Redis, and dies with its parent."""

    shutdown: ShutdownFlag
    """Set by a signal, also before RQ has installed its own handlers."""
    redis_is_away = False

    def request_stop(self, _number: int, _frame: FrameType | None) -> None:
        """Let the work horse hand back its batches, rather than finish a whole release.

        Without a work horse, end the wait for a job. StopRequested may be swallowed by whatever
        code the signal interrupts; the next heartbeat looks at the flag again.
        """
        self.shutdown.is_set = True
        if self.horse_pid:
            with suppress(ProcessLookupError):
                os.kill(self.horse_pid, signal.SIGTERM)
        elif self.get_state() != WorkerStatus.BUSY:
            raise StopRequested

    def fork_work_horse(self, job: Job, queue: Queue) -> None:
        """Fork with no database connection open: SQLite loses locks if a child closes its copy."""
        db.engine.dispose()
        # Until RQ has stored the work horse's pid, a signal could not be passed on to it.
        signal.pthread_sigmask(signal.SIG_BLOCK, SHUTDOWN_SIGNALS)
        try:
            if self.shutdown.is_set:
                raise StopRequested
            super().fork_work_horse(job, queue)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SHUTDOWN_SIGNALS)

    def main_work_horse(self, job: Job, queue: Queue) -> None:
        """Run the job, and die with the parent: its successor would run beside this process."""
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != self.pid:
            os._exit(1)
        super().main_work_horse(job, queue)

    def setup_work_horse_signals(self) -> None:
        """Let a signal end the work horse until the job begins."""
        super().setup_work_horse_signals()  # type: ignore[no-untyped-call]  # RQ annotates in part
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SHUTDOWN_SIGNALS)

    def heartbeat(self, timeout: int | None = None, pipeline: Pipeline | None = None) -> None:
        """Tell Redis that this worker lives; without Redis, leave RQ's loop to look at the rows."""
        if self.is_horse or self.horse_pid:
            with suppress(RedisError):
                super().heartbeat(timeout, pipeline)
            return
        if self.shutdown.is_set:
            raise StopRequested
        try:
            super().heartbeat(timeout, pipeline)
        except RedisError:
            self.redis_is_away = True
            raise StopRequested from None

    def maintain_heartbeats(self, job: Job, execution: Execution) -> None:
        """Tell Redis that the work horse lives; Redis may be away meanwhile."""
        try:
            super().maintain_heartbeats(job, execution)
        except RedisError as error:
            log.warning("Redis does not hear the heartbeat: %s.", type(error).__name__)

    def subscribe(self) -> None:
        """Take no commands through Redis: a process that may write there could stop a release."""

    def teardown(self) -> None:
        """Unregister from Redis if it answers, and let signals only set the flag again."""
        self.shutdown.install()
        if self.redis_is_away:
            return
        try:
            super().teardown()  # type: ignore[no-untyped-call]  # RQ annotates only in part
        except RedisError:
            log.warning("Redis is away.")


class WorkerProcess:
    """One worker process from start to end, with and without Redis."""

    def __init__(self, settings: Settings, queue_name: str) -> None:
        self._settings = settings
        self._queue_name = queue_name
        letters.preload(TEMPLATES)
        # Imported objects stay for good, so no work horse has to scan them for garbage.
        gc.freeze()
        self._shutdown = ShutdownFlag()

    def run(self) -> None:
        """Serve one queue until SIGTERM; RQ would lose jobs of a worker with several queues."""
        self._shutdown.install()
        while True:
            if self._settings.redis_url is not None:
                self._listen(self._settings.redis_url)
            if self._shutdown.is_set:
                return
            run_until_shutdown(DRAINS[self._queue_name], self._shutdown)
            if self._shutdown.is_set:
                return
            # Without Redis nothing tells of new rows: they are looked for again after a while.
            time.sleep(_WITHOUT_REDIS_SECONDS)

    def _listen(self, redis_url: str) -> None:
        """Wait for jobs until Redis goes away or a signal comes."""
        try:
            worker = QueueWorker(
                [self._queue_name],
                connection=worker_connection(redis_url),
                serializer=JSONSerializer,
                worker_ttl=_WORKER_TTL_SECONDS,
                maintenance_interval=_MAINTENANCE_SECONDS,
                job_monitoring_interval=_MONITORING_SECONDS,
                log_job_description=False,
            )
        except RedisError as error:
            log.warning("Redis is away: %s.", type(error).__name__)
            return
        worker.shutdown = self._shutdown
        try:
            worker.work(logging_level="WARNING")
        except RedisError as error:
            log.warning("Redis went away: %s.", type(error).__name__)
        except StopRequested:
            log.debug("Asked to shut down.")
