"""Puts a backup back in every usual way, with each witness left, and writes what came of it.

python -m tests.restores                         # every cell, in about twenty minutes
python -m tests.restores --database sqlite --way cp --jobs 1

Each cell is a service with a release on its way. In the middle, a backup is made; ten seconds later
it is put back, and all witnesses but one are taken away.
"""

from __future__ import annotations

import argparse
import shutil
import sqlite3
import subprocess
import sys
import time
import traceback
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import count
from multiprocessing import get_context
from pathlib import Path

from sqlalchemy import select

from mailer.config import Settings
from mailer.domain.followers import follower_csv
from mailer.domain.publishers import add
from mailer.domain.tokens import Purpose, Tokens
from mailer.storage.database import read_transaction
from mailer.storage.migrations import upgrade
from mailer.storage.models import Subscriber, Subscription
from tests.processes import eventually
from tests.relay import Relay
from tests.servers import PostgreSQL, Redis, find_program, temporary_folder
from tests.service import Service, application, contract
from tests.support.press_room import DRAFT, SLUG
from tests.support.publishing_system import PublishingSystem

WITNESSES = (
    *(("redis", True), ("redis", False), ("file", True), ("file", False)),
    *(("process", True), ("none", False)),
)
"""What is left, and whether the services run while the backup is put back."""
_FOLLOWERS, _A_SECOND, _BEGUN = 400, 15, 30
_OLD_SECONDS, _PATIENCE_SECONDS = 12, 60
_LEFT, _BACK, _NEW = "reader0@example.org", "reader1@example.org", "new@example.org"


@dataclass
class Cell:
    """One way back, with one witness left."""

    kind: str
    way: str
    witness: str
    running: bool
    seen: dict[str, object] = field(default_factory=dict)


class Stand:
    """The service of one cell: its database, its Redis, its relay, and a release on its way."""

    def __init__(self, cell: Cell, stack: ExitStack) -> None:
        self.cell = cell
        self.folder = stack.enter_context(temporary_folder(PostgreSQL.USER))
        self.relay = stack.enter_context(Relay.running())
        self.redis = stack.enter_context(Redis.running())
        self.state = self.folder / "state"
        self.postgresql = (
            stack.enter_context(PostgreSQL.running()) if cell.kind == "postgresql" else None
        )
        self.file = self.folder / "data" / "mailer.sqlite3"
        self.file.parent.mkdir()
        url = f"sqlite:///{self.file}"
        if self.postgresql is not None:
            url = self.postgresql.create_database("mailer")
        upgrade(url)
        self.environment = {
            **contract(database_url=url, redis_url=self.redis.url, smtp_url=self.relay.url),
            "MAILER_STATE_DIR": str(self.state),
            "MAILER_MESSAGES_A_SECOND": str(_A_SECOND),
        }
        self.service = Service(self.environment, self.folder)
        stack.callback(self._abandon)
        with application(self.environment):
            self.key = add(DRAFT)
            people = [f"reader{one}@example.org" for one in range(_FOLLOWERS)]
            follower_csv.import_followers(SLUG, ["address", *people], locales=("nb",))

    def _abandon(self) -> None:
        self.service.abandon()

    @property
    def publishing(self) -> PublishingSystem:
        return PublishingSystem(self.service.url, self.key)

    def token(self, purpose: Purpose, address: str) -> str:
        """Sign the link of a follower, as a letter has it."""
        with application(self.environment), read_transaction() as session:
            one = session.scalars(
                select(Subscription)
                .join(Subscriber, Subscriber.id == Subscription.subscriber_id)
                .where(Subscriber.address == address)
            ).one()
            settings = Settings.from_environment(self.environment)
            return Tokens(settings).token(purpose, one.id, one.nonce)

    def post(self, path: str, body: bytes = b"") -> int:
        request = urllib.request.Request(f"{self.service.url}{path}", data=body)
        return _status(request)

    def follows(self, address: str) -> bool:
        with application(self.environment), read_transaction() as session:
            found = select(Subscription.id).join(
                Subscriber, Subscriber.id == Subscription.subscriber_id
            )
            open_now = Subscription.ended_at.is_(None)
            return session.scalar(found.where(Subscriber.address == address, open_now)) is not None

    def taken(self) -> Counter[str]:
        return Counter(
            one.recipient for one in self.relay.received if b"\r\nPrecedence: list" in one.content
        )

    def client(self, program: str, *arguments: str) -> None:
        assert self.postgresql is not None
        where = ["--host=127.0.0.1", f"--port={self.postgresql.port}", "--username=postgres"]
        command = [find_program(program), *where, *arguments]
        subprocess.run(command, check=True, capture_output=True)


def _status(request: urllib.request.Request | str) -> int:
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code


Way = tuple[Callable[[Stand], None], Callable[[Stand], None]]
"""How the backup is made, and how it is put back."""


def _backup(stand: Stand) -> None:
    command = [sys.executable, "-m", "mailer", "db", "backup", str(stand.folder / "backup")]
    subprocess.run(command, check=True, env={**stand.service.environment, **_path()}, timeout=60)


def _path() -> dict[str, str]:
    return {"PATH": f"{Path(find_program('pg_dump')).parent}:/usr/bin:/bin"}


def _without_journal(stand: Stand) -> None:
    for suffix in ("-wal", "-shm"):
        stand.file.with_name(stand.file.name + suffix).unlink(missing_ok=True)


def _cp(stand: Stand) -> None:
    _without_journal(stand)
    shutil.copy(stand.folder / "backup", stand.file)


def _cp_alone(stand: Stand) -> None:
    shutil.copy(stand.folder / "backup", stand.file)


def _mv(stand: Stand) -> None:
    _without_journal(stand)
    (stand.folder / "backup").replace(stand.file)


def _by_api(stand: Stand) -> None:
    with (
        closing(sqlite3.connect(stand.folder / "backup")) as copy,
        closing(sqlite3.connect(stand.file, timeout=30)) as target,
    ):
        copy.backup(target)


def _clean(stand: Stand) -> None:
    stand.client(
        "pg_restore", "--clean", "--if-exists", "--dbname=mailer", f"{stand.folder}/backup"
    )


def _new_database(stand: Stand) -> None:
    assert stand.postgresql is not None
    url = stand.postgresql.create_database("restored")
    stand.client("pg_restore", "--dbname=restored", f"{stand.folder}/backup")
    stand.environment["DATABASE_URL"] = url
    stand.service = Service(stand.environment, stand.folder)


def _copy_folder(stand: Stand) -> None:
    assert stand.postgresql is not None
    stand.postgresql.stop()
    _cp_a(stand.postgresql.folder / "data", stand.folder / "backup")
    stand.postgresql.start()


def _base_backup(stand: Stand) -> None:
    (stand.folder / "backup").mkdir()
    stand.client("pg_basebackup", "--pgdata", str(stand.folder / "backup"), "--checkpoint=fast")


def _put_folder_back(stand: Stand) -> None:
    assert stand.postgresql is not None
    data = stand.postgresql.folder / "data"
    stand.postgresql.stop()
    shutil.rmtree(data)
    _cp_a(stand.folder / "backup", data)
    if PostgreSQL.USER is not None:
        owner = f"{PostgreSQL.USER}:"
        subprocess.run(["chown", "-R", owner, str(data)], check=True)
    data.chmod(0o700)
    stand.postgresql.start()


def _cp_a(source: Path, target: Path) -> None:
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)


WAYS: dict[str, dict[str, Way]] = {
    "sqlite": {
        "cp": (_backup, _cp),
        "cp, -wal and -shm left": (_backup, _cp_alone),
        "mv": (_backup, _mv),
        "backup API": (_backup, _by_api),
    },
    "postgresql": {
        "pg_restore --clean": (_backup, _clean),
        "new database": (_backup, _new_database),
        "data folder": (_copy_folder, _put_folder_back),
        "base backup": (_base_backup, _put_folder_back),
    },
}


def play(cell: Cell) -> Cell:
    """Play one cell, and note what was seen."""
    try:
        with ExitStack() as stack:
            _play(cell, Stand(cell, stack))
    except Exception:  # noqa: BLE001 - the table shows it
        cell.seen["error"] = traceback.format_exc(limit=-3)
    return cell


def _play(cell: Cell, stand: Stand) -> None:
    make, put_back = WAYS[cell.kind][cell.way]
    stand.service.start()
    back = stand.token("one-click", _BACK)
    assert stand.post(f"/one-click/{back}") == 200
    undo = stand.token("unsubscribe", _BACK)
    assert stand.post(f"/unsubscribe/{undo}", b"action=undo") == 200
    release_id = stand.publishing.publish("one")["id"]
    eventually(lambda: stand.taken().total() >= _BEGUN, "it has begun")
    make(stand)
    assert stand.post(f"/one-click/{stand.token('one-click', _LEFT)}") == 200
    assert stand.post(f"/{SLUG}/follow", f"address={_NEW}&locale=nb".encode()) in (200, 202)
    link = stand.token("unsubscribe", _NEW)
    time.sleep(_OLD_SECONDS)  # so old is the backup
    if cell.witness != "redis":
        stand.redis.flush()
    if cell.witness != "file":
        shutil.rmtree(stand.state)
    if not cell.running:
        stand.service.stop()
    put_back(stand)
    before = stand.taken()
    if not cell.running:
        stand.service.start()

    def at_rest() -> str:
        try:
            state = str(stand.publishing.release(release_id)["state"])
        except (OSError, ValueError, LookupError):
            return ""
        return state if state in ("paused", "done") else ""

    try:
        state = eventually(at_rest, "it is at rest", _PATIENCE_SECONDS)
    except AssertionError:
        state = "neither"
    found = stand.publishing.release(release_id) if state != "neither" else {}
    cell.seen |= {
        "state": state,
        "sentence": found.get("paused_because"),
        "twice": sum(copies > 1 for copies in stand.taken().values()),
        "to who left": stand.taken()[_LEFT] - before[_LEFT],
        "who left follows": stand.follows(_LEFT),
        "who came back follows": stand.follows(_BACK),
        "link": _status(f"{stand.service.url}/unsubscribe/{link}"),
    }


def cells(asked: argparse.Namespace) -> Iterator[Cell]:
    """Name every cell that is asked for; a new database needs services that are started anew."""
    for kind, ways in WAYS.items():
        for way in ways:
            if asked.database in (None, kind) and asked.way in (None, way):
                for witness, running in WITNESSES:
                    if not (way == "new database" and running):
                        yield Cell(kind, way, witness, running)


def main(arguments: Sequence[str]) -> None:
    """Play the cells, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.restores")
    parser.add_argument("--database", choices=WAYS)
    parser.add_argument("--way")
    parser.add_argument("--jobs", type=int, default=2)
    asked = parser.parse_args(arguments)
    began, number = time.monotonic(), count(1)
    with get_context("spawn").Pool(asked.jobs, maxtasksperchild=1) as pool:
        for cell in pool.imap(play, cells(asked)):
            services = "running" if cell.running else "stopped"
            shown = " | ".join(f"{name}: {value}" for name, value in cell.seen.items())
            print(
                f"{next(number)} | {cell.way} | {cell.witness} | {services} | {shown}", flush=True
            )
    print(f"{time.monotonic() - began:.0f} seconds")


if __name__ == "__main__":
    main(sys.argv[1:])
