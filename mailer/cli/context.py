"""What most commands need: the settings, and one app context for the whole process."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from mailer.app import create_app
from mailer.config import Settings

P = ParamSpec("P")
T = TypeVar("T")


def with_settings(command: Callable[Concatenate[Settings, P], T]) -> Callable[P, T]:
    """Give a command the settings as its first argument, within an app context."""

    @functools.wraps(command)
    def within(*args: P.args, **kwargs: P.kwargs) -> T:
        settings = Settings.from_environment()
        with create_app(settings).app_context():
            return command(settings, *args, **kwargs)

    return within
