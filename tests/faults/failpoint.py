"""A configuration of gunicorn by which a worker kills itself at the n-th step of one request.

Loaded by `GUNICORN_CMD_ARGS=--config=python:tests.faults.failpoint`; everything else is the web
process as it is. The steps are: before and after each statement, before and after each commit.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.orm import Session

HEADER = "X-Die-At"
_STEPS = ("before_cursor_execute", "after_cursor_execute", "commit")
_steps_left: ContextVar[int] = ContextVar("steps_left", default=0)


def post_worker_init(worker: Any) -> None:
    """Count the steps of every request that asks for it (called by gunicorn)."""
    for name in _STEPS:
        event.listen(Engine, name, _step)
    event.listen(Session, "after_commit", _step)
    worker.wsgi = _listening(worker.wsgi)


def _listening(application: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    def answer(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        _steps_left.set(int(environ.get("HTTP_X_DIE_AT", "0")))
        return application(environ, start_response)

    return answer


def _step(*_: Any) -> None:
    left = _steps_left.get()
    _steps_left.set(left - 1)
    if left == 1:
        os.kill(os.getpid(), signal.SIGKILL)
