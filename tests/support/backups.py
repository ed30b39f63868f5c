"""Backups that are put back over the database that they were made of."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from mailer.storage.backup import back_up
from mailer.storage.database import db
from mailer.storage.migrations import sqlite_file
from tests.servers import find_program


def take(file: Path) -> Path:
    """Back up the database of this application to a new file."""
    back_up(db.engine, file)
    return file


def put_back(backup: Path) -> None:
    """Put a backup over the database of this application, under its connections."""
    db.engine.dispose()
    target = sqlite_file(db.engine)
    if target is not None:
        for suffix in ("-wal", "-shm"):
            target.with_name(target.name + suffix).unlink(missing_ok=True)
        shutil.copy(backup, target)
        return
    url = db.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    command = [find_program("pg_restore"), "--clean", "--if-exists", f"--dbname={url}", str(backup)]
    subprocess.run(command, check=True, capture_output=True)
