"""What can happen after a disaster: an old copy of the database is restored and started."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tests.faults.inserts import open_sqlite
from tests.faults.trial import Trial
from tests.processes import eventually, free_port
from tests.servers import PostgreSQL, find_program
from tests.service import Service
from tests.support.publishing_system import PublishingSystem

_SENDERS = ("releases", "sweep")


def dump(trial: Trial) -> None:
    """Take a copy of the database in the middle of a release."""
    copy = trial.parts.folder / f"copy-{trial.story.strikes}.dump"
    if trial.parts.postgresql is None:
        with closing(open_sqlite(trial.parts)) as connection:
            connection.execute("VACUUM INTO ?", [str(copy)])
    else:
        name = Path(trial.parts.database_url).name
        _client("pg_dump", trial.parts.postgresql, "--format=custom", f"--file={copy}", name)


def restore_dumps(trial: Trial) -> None:
    """Restore each copy after the end of its release: it comes up paused, and sends nothing."""
    trial.parts.redis.stop()
    for name in _SENDERS:
        trial.service.processes[name].stop()
    for copy in sorted(trial.parts.folder.glob("copy-*.dump")):
        taken = trial.relay.taken()
        with _restored(trial, copy) as url:
            _stays_paused(trial, url, _beside(copy))
        assert trial.relay.taken() == taken, "a restored copy has sent something"
        copy.unlink()
    trial.parts.redis.start()
    trial.service.start(*_SENDERS)


def _stays_paused(trial: Trial, url: str, logs: Path) -> None:
    """Start the worker first, and without Redis, so that nobody but itself tells it to wait."""
    environment = trial.service.environment | {
        "DATABASE_URL": url,
        "BASE_URL": f"http://127.0.0.1:{free_port()}",
    }
    with Service.running(environment, logs, ("releases",)) as service:
        # It says so before each look at the rows: the second time, the first look is over.
        eventually(lambda: service.log("releases").count("Redis is away") > 1, "it has looked")
        service.start("web", "sweep")
        publishing = PublishingSystem(service.url, trial.publishing.key)
        eventually(lambda: publishing.release(trial.release)["state"] == "paused", "paused")
        assert "copy" in publishing.release(trial.release)["paused_because"]
        trial.relay.quiet()


def _beside(copy: Path) -> Path:
    folder = copy.with_name(f"logs-of-{copy.stem}")
    folder.mkdir(exist_ok=True)
    return folder


@contextmanager
def _restored(trial: Trial, copy: Path) -> Iterator[str]:
    postgresql = trial.parts.postgresql
    if postgresql is None:
        yield f"sqlite:///{shutil.copy(copy, copy.with_suffix('.sqlite3'))}"
        return
    url = postgresql.create_database("restored")
    try:
        _client("pg_restore", postgresql, "--dbname=restored", str(copy))
        yield url
    finally:
        postgresql.drop_database("restored")


def _client(program: str, postgresql: PostgreSQL, *arguments: str) -> None:
    where = ["--host=127.0.0.1", f"--port={postgresql.port}", "--username=postgres"]
    subprocess.run([find_program(program), *where, *arguments], check=True, capture_output=True)
