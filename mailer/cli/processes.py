"""`mailer worker` and `mailer sweep`: the processes of the Procfile."""

from __future__ import annotations

import signal
import threading
from itertools import count

import click

from mailer.app import with_settings
from mailer.config import Settings
from mailer.fanout import sweep as sweeping
from mailer.fanout.worker import Shift
from mailer.storage.queues import JOBS

_HOUR = 3600


@click.command("worker")
@click.argument("queue", type=click.Choice(sorted(JOBS)))
@with_settings
def worker(settings: Settings, queue: str) -> None:
    """Serve one queue until SIGTERM; start as many as the machine has room for."""
    Shift(settings, queue).work()


@click.command("sweep")
@click.option("--once", is_flag=True, help="Go round once, then end.")
@with_settings
def sweep(settings: Settings, *, once: bool) -> None:
    """Find lost and overdue work, and ring for it; any number may run."""
    told = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: told.set())
    for round_ in count():
        sweeping.sweep(settings, thorough=round_ % (_HOUR // settings.sweep_seconds) == 0)
        if once or told.wait(settings.sweep_seconds):
            break
