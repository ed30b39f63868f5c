"""`mailer worker` and `mailer sweep`: the processes of the Procfile."""

from __future__ import annotations

import signal
import threading

import click

from mailer.app import with_settings
from mailer.config import Settings
from mailer.domain.fingerprints import tell_of_missing_keys
from mailer.fanout import sweep as sweeping
from mailer.fanout.worker import WorkerProcess
from mailer.storage.queues import JOBS
from mailer.storage.revisions import require_fitting

_HOUR = 3600
_AGAIN_SECONDS = 1


@click.command("worker")
@click.argument("queue", type=click.Choice(sorted(JOBS)))
@with_settings
def worker(settings: Settings, queue: str) -> None:
    """Serve one queue until SIGTERM; start as many as the machine has room for."""
    require_fitting()
    tell_of_missing_keys(settings)
    WorkerProcess(settings, queue).run()


@click.command("sweep")
@click.option("--once", is_flag=True, help="Sweep once, then end.")
@with_settings
def sweep(settings: Settings, *, once: bool) -> None:
    """Find lost and overdue work, and wake workers for it; any number may run."""
    require_fitting()
    tell_of_missing_keys(settings)
    shutdown = threading.Event()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_number, lambda _number, _frame: shutdown.set())
    done = 0
    while True:
        thorough = done % (_HOUR // settings.sweep_seconds) == 0
        is_done = sweeping.sweep(settings, thorough=thorough)
        done += is_done
        # A database that comes back may be an older copy, and only a sweep pauses what is in that.
        if once or shutdown.wait(settings.sweep_seconds if is_done else _AGAIN_SECONDS):
            break
