"""The real servers the tests run against: PostgreSQL, Redis, and Postfix's smtp-sink.

Each is a context manager with its own temporary folder and port, and can be stopped, killed,
frozen and started again, since a fault test does exactly that. The scriptable SMTP server is in
`tests/relay.py`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import LiteralString, Self

import psycopg
import redis
from psycopg import sql

from tests.processes import Process, alive, as_user, eventually, free_port, listens

LOOPBACK = "127.0.0.1"
EVERYWHERE = "0.0.0.0"
"""Where a server may `listen` that has a network of its own."""

_AS_ROOT = os.geteuid() == 0
_SYSTEM_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def find_program(name: str) -> str:
    """Find a program on the PATH or where Debian hides it; `make test` installs them all."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: float(p.parent.name))
    path = ":".join([*map(str, reversed(versions)), _SYSTEM_PATH])
    found = shutil.which(name, path=path)
    assert found, f"{name} is not installed; tests/apt-parts.sh installs it"
    return found


@contextmanager
def temporary_folder(owner: str | None = None) -> Iterator[Path]:
    """Make a folder with a path short enough for a unix socket, which another user may own."""
    folder = Path(tempfile.mkdtemp(prefix="mailer-"))
    try:
        if owner is not None:
            shutil.chown(folder, owner)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class PostgreSQL:
    """A PostgreSQL cluster of its own.

    Tests kill programs, not the machine: what the kernel has, it keeps, and nothing is synced to
    the disk. With `fsync` it is, as in production, which is what a benchmark wants to know.
    """

    # PostgreSQL refuses to run as root.
    USER = "postgres" if _AS_ROOT else None

    def __init__(self, folder: Path, listen: str = LOOPBACK, *, fsync: bool = False) -> None:
        self.port = free_port()
        self.folder = folder
        self._data = folder / "data"
        self._listen = listen
        self._fsync = fsync
        self._initialise()
        self.process = Process(
            [find_program("postgres"), "-D", str(self._data)],
            folder / "log",
            user=self.USER,
            # SIGINT is the fast shutdown. It frees the shared memory, which SIGKILL would leak.
            stop_signal=signal.SIGINT,
            death_signal=signal.SIGINT,
        )

    @classmethod
    @contextmanager
    def running(cls, listen: str = LOOPBACK, *, fsync: bool = False) -> Iterator[Self]:
        """Start a new cluster in a temporary folder, and stop it at the end."""
        with temporary_folder(cls.USER) as folder:
            server = cls(folder, listen, fsync=fsync)
            try:
                server.start()
                yield server
            finally:
                server.stop()

    def start(self) -> None:
        """Start the server, also after `stop` or `kill`, and wait until it answers."""
        self.process.launch()
        self.process.thaw()
        self.process.ready(self._answers)

    def stop(self) -> None:
        """Shut down fast: connections are cut, everything committed is kept."""
        self.process.stop()

    def kill(self) -> None:
        """Kill the postmaster with SIGKILL, and wait until its backends have noticed and ended."""
        backends = self.process.children
        self.process.kill()
        # A cluster does not start again while one of them lives.
        eventually(lambda: not any(map(alive, backends)), "backends outlive their postmaster")

    def freeze(self) -> None:
        """Freeze the postmaster: connected clients go on, new ones hang."""
        self.process.freeze()

    def thaw(self) -> None:
        """Let the postmaster go on."""
        self.process.thaw()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Freeze the postmaster and its backends: nobody is answered."""
        self.freeze()
        backends = self.process.children
        for one in backends:
            os.kill(one, signal.SIGSTOP)
        try:
            yield
        finally:
            for one in backends:
                os.kill(one, signal.SIGCONT)
            self.thaw()

    def url(self, name: str) -> str:
        """Give the URL of a database by its name."""
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{name}"

    def create_database(self, name: str, template: str = "template1") -> str:
        """Create a database, as a copy of the template, and give its URL."""
        self.execute("CREATE DATABASE {} TEMPLATE {}", name, template)
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drop a database, cutting whoever is still connected."""
        self.execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)

    def cut_connections(self, name: str) -> None:
        """End every connection to that database, as an administrator would."""
        with self._administrator() as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
            )

    def execute(self, statement: LiteralString, *names: str) -> None:
        """Run one statement of the administrator, its {} filled with quoted names."""
        with self._administrator() as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

    def sync_to_disk(self) -> None:
        """Sync every commit to the disk from now on, as in production."""
        self.execute("ALTER SYSTEM SET fsync = on")
        self.execute("SELECT pg_reload_conf()")

    def _initialise(self) -> None:
        subprocess.run(
            [
                *("setpriv", *as_user(self.USER), "--", find_program("initdb")),
                *("--pgdata", str(self._data), "--username", "postgres", "--auth", "trust"),
                *("--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync", "--no-instructions"),
            ],
            check=True,
            capture_output=True,
            cwd=self.folder,
        )
        with (self._data / "postgresql.conf").open("a") as configuration:
            configuration.write(
                f"listen_addresses = '{self._listen}'\nport = {self.port}\n"
                f"unix_socket_directories = '{self.folder}'\nmax_connections = 200\n"
                f"fsync = {'on' if self._fsync else 'off'}\n"
            )
        with (self._data / "pg_hba.conf").open("a") as rules:
            rules.write("host all all samenet trust\n")

    def _administrator(self) -> psycopg.Connection:
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user="postgres", dbname="postgres", autocommit=True
        )

    def _answers(self) -> bool:
        try:
            self._administrator().close()
        except psycopg.OperationalError:
            return False
        return True


class Redis:
    """A Debian redis-server that keeps nothing on disk, so that a restart is a fresh start."""

    def __init__(self, folder: Path, listen: str = LOOPBACK) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.process = Process(
            [
                *(find_program("redis-server"), "--port", str(self.port), "--bind", listen),
                *("--protected-mode", "no"),
                *("--save", "", "--appendonly", "no", "--dir", str(folder)),
            ],
            folder / "log",
        )

    @classmethod
    @contextmanager
    def running(cls, listen: str = LOOPBACK) -> Iterator[Self]:
        """Start a server in a temporary folder, and stop it at the end."""
        with temporary_folder() as folder:
            server = cls(folder, listen)
            try:
                server.start()
                yield server
            finally:
                server.stop()

    def start(self) -> None:
        """Start the server, empty, also after `stop` or `kill`, and wait until it answers."""
        self.process.launch()
        self.process.thaw()
        self.process.ready(self._answers)

    def stop(self) -> None:
        """Shut the server down; what it held is gone."""
        self.process.stop()

    def kill(self) -> None:
        """Kill the server with SIGKILL; what it held is gone."""
        self.process.kill()

    def freeze(self) -> None:
        """Freeze the server: connections open, no answers."""
        self.process.freeze()

    def thaw(self) -> None:
        """Let the server go on."""
        self.process.thaw()

    def flush(self) -> None:
        """Forget everything (FLUSHALL)."""
        with redis.Redis.from_url(self.url) as client:
            client.flushall()

    def _answers(self) -> bool:
        try:
            with redis.Redis.from_url(self.url, socket_timeout=5) as client:
                return bool(client.ping())
        except redis.exceptions.ConnectionError:
            return False


@dataclass(frozen=True)
class Sink:
    """A running smtp-sink; with a record, every accepted message can be counted."""

    port: int
    process: Process
    record: Path

    @property
    def url(self) -> str:
        """Where to send, as `SMTP_URL` wants it."""
        return f"smtp://127.0.0.1:{self.port}"

    def headers(self, name: str) -> list[str]:
        """Give the values of one header over all recorded messages, in the order of arrival.

        The envelope is recorded as headers too: X-Mail-Args, X-Rcpt-Args (as `<a@example.org>`).
        """
        prefix = f"{name}: ".encode()
        with self.record.open("rb") as record:
            return [
                line.removeprefix(prefix).decode().strip()
                for line in record
                if line.startswith(prefix)
            ]


@contextmanager
def sink(*options: str, record: bool = False, listen: str = LOOPBACK) -> Iterator[Sink]:
    """Run Postfix's smtp-sink, which takes whatever comes as fast as it can.

    Options are its own, such as `-p` (no pipelining); recording each message costs speed.
    """
    # It does not want to be root either. Its own option -u would clear its death signal.
    user = "nobody" if _AS_ROOT else None
    with temporary_folder(user) as folder:
        port, file = free_port(), folder / "record"
        command = [find_program("smtp-sink"), "-4", "-m", "1024", *options]
        command += ["-D", str(file)] if record else []
        command += [f"{listen}:{port}", "1024"]
        process = Process(command, folder / "log", user=user)
        try:
            process.launch()
            process.ready(lambda: listens(port))
            yield Sink(port, process, file)
        finally:
            process.stop()
