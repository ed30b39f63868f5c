"""The worker: waits for doorbells in Redis, and looks at the rows by itself without Redis."""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

from redis import RedisError
from redis.client import Pipeline
from rq import Queue, Worker
from rq.exceptions import StopRequested
from rq.executions import Execution
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.utils import import_attribute

from mailer.config import TEMPLATES, Settings
from mailer.mail import letters
from mailer.storage.database import db
from mailer.storage.queues import JOBS, patient_connection

_PR_SET_PDEATHSIG = 1
_WITHOUT_REDIS_SECONDS = 1.0
# RQ waits for a job for worker_ttl - 15 seconds at a time, and cleans up only in between.
_WORKER_TTL_SECONDS = 20
_MAINTENANCE_SECONDS = 10
_MONITORING_SECONDS = 5

log = logging.getLogger(__name__)


class DoorbellWorker(Worker):
    """An RQ worker whose horse outlives Redis, leaves when asked to, and dies with its parent."""

    told: threading.Event
    """Set by whoever wants the process to end, also before RQ listens to signals."""
    redis_is_away = False

    def fork_work_horse(self, job: Job, queue: Queue) -> None:
        """Fork with no database connection open: closing one twice would undo its locks."""
        db.engine.dispose()
        super().fork_work_horse(job, queue)

    def main_work_horse(self, job: Job, queue: Queue) -> None:
        """Do the job, but not as an orphan beside the worker that replaces the parent."""
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != self.pid:
            os._exit(1)
        super().main_work_horse(job, queue)

    def handle_warm_shutdown_request(self) -> None:
        """Ask the horse to give back what it holds, rather than to finish a whole release."""
        self.told.set()
        if self.horse_pid:
            with suppress(ProcessLookupError):
                os.kill(self.horse_pid, signal.SIGTERM)

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Stay with the horse to the end, also when Redis goes away in the middle."""
        try:
            super().execute_job(job, queue)
        finally:
            self._wait_for_the_end()

    def heartbeat(self, timeout: int | None = None, pipeline: Pipeline | None = None) -> None:
        """Tell Redis that we are alive; without Redis, stop listening and look at the rows."""
        try:
            super().heartbeat(timeout, pipeline)
        except RedisError:
            if self.is_horse or self.horse_pid:
                return
            self.redis_is_away = True
            raise StopRequested from None

    def maintain_heartbeats(self, job: Job, execution: Execution) -> None:
        """Tell Redis that the horse is alive, if Redis can hear it."""
        try:
            super().maintain_heartbeats(job, execution)
        except RedisError as error:
            log.warning("Redis does not hear the heartbeat: %s.", type(error).__name__)

    def check_for_suspension(self, burst: bool) -> None:
        """Leave at once if that was asked for before RQ listened to signals."""
        if self.told.is_set():
            raise StopRequested
        super().check_for_suspension(burst)

    def subscribe(self) -> None:
        """Take no commands by Redis: whoever may write there could stop a release."""

    def teardown(self) -> None:
        """Sign off, if Redis can hear it."""
        if self.redis_is_away:
            return
        try:
            super().teardown()  # type: ignore[no-untyped-call]  # RQ annotates only in part
        except RedisError:
            log.warning("Redis is away.")

    def _wait_for_the_end(self) -> None:
        """Wait for a horse that nobody waits for; a signal on the way may also miss Redis."""
        while self.horse_pid:
            with suppress(RedisError):
                self.wait_for_horse()
                self._horse_pid = 0


class Shift:
    """One worker process from start to end, through all absences of Redis."""

    def __init__(self, settings: Settings, queue_name: str) -> None:
        self._settings = settings
        self._queue_name = queue_name
        # Imported here, before any fork: else every horse would import the service anew.
        self._drain: Callable[[], bool] = import_attribute(JOBS[queue_name])
        letters.preload(TEMPLATES)
        # What is imported stays for good: no horse need look through it for garbage again.
        gc.freeze()
        self._told = threading.Event()

    def work(self) -> None:
        """Serve one queue until SIGTERM; one queue, because RQ loses jobs of several."""
        self._hear_signals()
        while not self._told.is_set():
            if self._settings.redis_url is not None:
                self._listen(self._settings.redis_url)
            if self._told.is_set() or self._drain():
                break
            self._hear_signals()
            self._told.wait(_WITHOUT_REDIS_SECONDS)

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
        worker.told = self._told
        try:
            worker.work(logging_level="WARNING")
        except RedisError as error:
            log.warning("Redis went away: %s.", type(error).__name__)
        finally:
            self._hear_signals()

    def _hear_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._tell)

    def _tell(self, _number: int, _frame: FrameType | None) -> None:
        self._told.set()
