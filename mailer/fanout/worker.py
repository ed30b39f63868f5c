"""The worker: waits for doorbells in Redis, and looks at the rows by itself without Redis."""

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
from mailer.fanout.jobs import STOPPING, WORK, Notice, until_told
from mailer.mail import letters
from mailer.storage.database import db
from mailer.storage.queues import patient_connection

_PR_SET_PDEATHSIG = 1
_WITHOUT_REDIS_SECONDS = 1.0
# RQ waits for a job for worker_ttl - 15 seconds at a time, and cleans up only in between.
_WORKER_TTL_SECONDS = 20
_MAINTENANCE_SECONDS = 10
_MONITORING_SECONDS = 5

log = logging.getLogger(__name__)


class DoorbellWorker(Worker):
    """An RQ worker whose horse outlives Redis, leaves when asked to, and dies with its parent."""

    notice: Notice
    """Given by whoever wants the process to end, also before RQ listens to signals."""
    redis_is_away = False

    def request_stop(self, _number: int, _frame: FrameType | None) -> None:
        """Have the horse give back what it holds, rather than finish a whole release.

        Without a horse, end the wait for a doorbell. What is raised here may be caught by
        anybody, since a signal comes anywhere: the next heartbeat looks at the notice again.
        """
        self.notice.given = True
        if self.horse_pid:
            with suppress(ProcessLookupError):
                os.kill(self.horse_pid, signal.SIGTERM)
        elif self.get_state() != WorkerStatus.BUSY:
            raise StopRequested

    def fork_work_horse(self, job: Job, queue: Queue) -> None:
        """Fork with no database connection open: closing one twice would undo its locks."""
        db.engine.dispose()
        # Else a signal before RQ has noted the horse would never reach it.
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
        try:
            if self.notice.given:
                raise StopRequested
            super().fork_work_horse(job, queue)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)

    def main_work_horse(self, job: Job, queue: Queue) -> None:
        """Do the job, but not as an orphan beside the worker that replaces the parent."""
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != self.pid:
            os._exit(1)
        super().main_work_horse(job, queue)

    def setup_work_horse_signals(self) -> None:
        """Die of a signal, as long as the job has not begun."""
        super().setup_work_horse_signals()  # type: ignore[no-untyped-call]  # RQ annotates in part
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)

    def heartbeat(self, timeout: int | None = None, pipeline: Pipeline | None = None) -> None:
        """Tell Redis that we are alive; without Redis, stop listening and look at the rows."""
        if self.is_horse or self.horse_pid:
            with suppress(RedisError):
                super().heartbeat(timeout, pipeline)
            return
        if self.notice.given:
            raise StopRequested
        try:
            super().heartbeat(timeout, pipeline)
        except RedisError:
            self.redis_is_away = True
            raise StopRequested from None

    def maintain_heartbeats(self, job: Job, execution: Execution) -> None:
        """Tell Redis that the horse is alive, if Redis can hear it."""
        try:
            super().maintain_heartbeats(job, execution)
        except RedisError as error:
            log.warning("Redis does not hear the heartbeat: %s.", type(error).__name__)

    def subscribe(self) -> None:
        """Take no commands by Redis: whoever may write there could stop a release."""

    def teardown(self) -> None:
        """Sign off, if Redis can hear it; signals are the shift's again, and raise nothing."""
        self.notice.heed()
        if self.redis_is_away:
            return
        try:
            super().teardown()  # type: ignore[no-untyped-call]  # RQ annotates only in part
        except RedisError:
            log.warning("Redis is away.")


class Shift:
    """One worker process from start to end, through all absences of Redis."""

    def __init__(self, settings: Settings, queue_name: str) -> None:
        self._settings = settings
        self._queue_name = queue_name
        letters.preload(TEMPLATES)
        # What is imported stays for good: no horse need look through it for garbage again.
        gc.freeze()
        self._notice = Notice()

    def work(self) -> None:
        """Serve one queue until SIGTERM; one queue, because RQ loses jobs of several."""
        self._notice.heed()
        while True:
            if self._settings.redis_url is not None:
                self._listen(self._settings.redis_url)
            if self._notice.given:
                return
            until_told(WORK[self._queue_name], self._notice)
            if self._notice.given:
                return
            time.sleep(_WITHOUT_REDIS_SECONDS)

    def _listen(self, redis_url: str) -> None:
        """Wait for doorbells until Redis goes away or a signal comes."""
        try:
            worker = DoorbellWorker(
                [self._queue_name],
                connection=patient_connection(redis_url),
                serializer=JSONSerializer,
                worker_ttl=_WORKER_TTL_SECONDS,
                maintenance_interval=_MAINTENANCE_SECONDS,
                job_monitoring_interval=_MONITORING_SECONDS,
                log_job_description=False,
            )
        except RedisError as error:
            log.warning("Redis is away: %s.", type(error).__name__)
            return
        worker.notice = self._notice
        try:
            worker.work(logging_level="WARNING")
        except RedisError as error:
            log.warning("Redis went away: %s.", type(error).__name__)
        except StopRequested:
            log.debug("Asked to leave.")
