"""The witnesses of the database's generation: Redis, and a file in MAILER_STATE_DIR.

Neither is restored with the database. Each holds the highest number that was committed, and for 90
days the notes of who has left. What one of them says can pause releases, and no more: a note is
signed. One that is away is not asked.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Protocol, TypeVar, cast

from redis import Redis, RedisError

from mailer.config import Settings
from mailer.storage import generation
from mailer.storage.generation import Numbered
from mailer.storage.queues import quick_connection

_KEPT_SECONDS = 90 * 86_400
_NUMBERS = "mailer:generations"
_NOTES = "mailer:notes:{}"
T = TypeVar("T")

log = logging.getLogger(__name__)


class _Witness(Protocol):
    def tell(self, told: Numbered, notes: tuple[str, ...]) -> None: ...
    def number(self, name: str) -> int | None: ...
    def notes(self, name: str) -> list[str]: ...
    def forget(self, name: str) -> None: ...


class _RedisWitness:
    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def tell(self, told: Numbered, notes: tuple[str, ...]) -> None:
        self._redis.zadd(_NUMBERS, {told.name: told.number}, gt=True)
        if notes:
            moment, key = time.time(), _NOTES.format(told.name)
            self._redis.zadd(key, dict.fromkeys(notes, moment))
            self._redis.expire(key, _KEPT_SECONDS)

    def number(self, name: str) -> int | None:
        found = self._redis.zscore(_NUMBERS, name)
        return None if found is None else int(found)

    def notes(self, name: str) -> list[str]:
        found = cast("list[bytes]", self._redis.zrange(_NOTES.format(name), 0, -1))
        return [one.decode() for one in found]

    def forget(self, name: str) -> None:
        oldest = time.time() - _KEPT_SECONDS
        self._redis.zremrangebyscore(_NOTES.format(name), 0, oldest)


class _FileWitness:
    """Two files for each name: its number, and its notes, each line with its time before it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def tell(self, told: Numbered, notes: tuple[str, ...]) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._locked():
            if told.number > (self.number(told.name) or 0):
                _replace(self._file("generation", told.name), f"{told.number}\n")
            if notes:
                with self._file("notes", told.name).open("a") as file:
                    file.writelines(f"{int(time.time())} {note}\n" for note in notes)

    def number(self, name: str) -> int | None:
        text = _read(self._file("generation", name))
        return int(text) if text else None

    def notes(self, name: str) -> list[str]:
        return [line.partition(" ")[2] for line in _read(self._file("notes", name)).splitlines()]

    def forget(self, name: str) -> None:
        with self._locked():
            file, oldest = self._file("notes", name), time.time() - _KEPT_SECONDS
            lines = _read(file).splitlines(keepends=True)
            kept = [line for line in lines if int(line.partition(" ")[0]) > oldest]
            if kept != lines:
                _replace(file, "".join(kept))

    def _file(self, kind: str, name: str) -> Path:
        return self._folder / f"{kind}-{name}"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)


def _read(file: Path) -> str:
    return file.read_text() if file.exists() else ""


def _replace(file: Path, text: str) -> None:
    """Replace a file as a whole, whenever the process may be killed."""
    new = file.with_suffix(".new")
    new.write_text(text)
    new.replace(file)


def tell(settings: Settings, told: Numbered, *notes: str) -> None:
    """Tell every witness, this process among them, a number that is committed."""
    generation.remember(told)
    for one in _witnesses(settings):
        _ask(partial(one.tell, told, notes), None)


def highest(settings: Settings, name: str) -> int | None:
    """Return the highest number of a name that any witness knows, None if none knows any."""
    known = [_ask(partial(one.number, name), None) for one in _witnesses(settings)]
    return max((number for number in (*known, generation.remembered(name)) if number), default=None)


def notes(settings: Settings, name: str) -> set[str]:
    """Return the notes of a name that any witness has; each is to be verified."""
    nothing: list[str] = []
    asked = (_ask(partial(one.notes, name), nothing) for one in _witnesses(settings))
    return set(chain.from_iterable(asked))


def forget(settings: Settings, name: str) -> None:
    """Delete the notes that are older than 90 days."""
    for one in _witnesses(settings):
        _ask(partial(one.forget, name), None)


def _witnesses(settings: Settings) -> Iterator[_Witness]:
    if settings.redis_url is not None:
        yield _RedisWitness(quick_connection(settings.redis_url))
    yield _FileWitness(settings.state_dir or _usual_folder())


def _usual_folder() -> Path:
    """Return the folder that systemd gives a service, or that a user's programs have."""
    if given := os.environ.get("STATE_DIRECTORY", "").partition(":")[0]:
        return Path(given)
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "mailer"


def _ask(question: Callable[[], T], otherwise: T) -> T:
    """Ask a witness; one that is away, or writes what is no number, knows nothing."""
    try:
        return question()
    except (RedisError, OSError, ValueError, OverflowError) as error:
        log.warning("A witness of the generation is away: %s.", type(error).__name__)
        return otherwise
