"""Backups: a copy of the database as it is at one moment, also while a release goes out."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

from sqlalchemy import URL, Engine

from mailer.errors import Misconfigured
from mailer.storage.migrations import sqlite_file


def back_up(engine: Engine, file: Path) -> None:
    """Write a backup to a new file, which only its owner may read. Raises Misconfigured.

    SQLite is copied by its backup API, since a file that is copied beside its journal is no backup;
    PostgreSQL by pg_dump, in the format that pg_restore reads.
    """
    try:
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except OSError as error:
        raise Misconfigured(f"{file} cannot be made: {error.strerror}.") from None
    try:
        if (source := sqlite_file(engine)) is not None:
            with closing(sqlite3.connect(source)) as ours, closing(sqlite3.connect(file)) as copy:
                ours.backup(copy)
        else:
            _dump(engine.url, file)
    except BaseException:
        file.unlink()
        raise


def _dump(url: URL, file: Path) -> None:
    """Run pg_dump; the password is in its environment, where other accounts do not see it."""
    name = url.set(drivername="postgresql", password=None).render_as_string()
    password = {} if url.password is None else {"PGPASSWORD": url.password}
    command = ["pg_dump", "--format=custom", f"--file={file}", f"--dbname={name}"]
    try:
        done = subprocess.run(  # noqa: S603 - our own arguments, without a shell
            command, env=os.environ | password, stderr=subprocess.PIPE, text=True, check=False
        )
    except FileNotFoundError:
        raise Misconfigured("There is no pg_dump here: install the client of PostgreSQL.") from None
    if done.returncode:
        raise Misconfigured(f"pg_dump has failed: {done.stderr.strip()}")
