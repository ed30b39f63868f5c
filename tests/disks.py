"""A disk for a test to fill."""

from __future__ import annotations

import errno
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.servers import temporary_folder

_PAGE = 4096
_BREATH_SECONDS = 0.05


@dataclass(frozen=True)
class SmallDisk:
    """A file system in memory that can be filled to its last byte."""

    folder: Path

    @contextmanager
    def full(self) -> Iterator[None]:
        """Leave no room at all, also when somebody who has room lets go of it."""
        over = threading.Event()

        def keep_full() -> None:
            while not over.wait(_BREATH_SECONDS):
                self._fill()

        self._fill()
        thread = threading.Thread(target=keep_full)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            self._ballast.unlink()

    def _fill(self) -> None:
        piece = 1 << 30
        with self._ballast.open("ab") as ballast:
            while piece >= _PAGE:
                try:
                    os.posix_fallocate(ballast.fileno(), ballast.seek(0, os.SEEK_END), piece)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    piece //= 2

    @property
    def _ballast(self) -> Path:
        return self.folder / "ballast"


@contextmanager
def small_disk(megabytes: int, owner: str | None = None) -> Iterator[SmallDisk]:
    """Mount a small file system, which only root may do."""
    as_root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    with temporary_folder(owner) as folder:
        options = f"size={megabytes}m,mode=700,uid={folder.stat().st_uid}"
        subprocess.run(
            [*as_root, "mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True
        )
        try:
            yield SmallDisk(folder)
        finally:
            subprocess.run([*as_root, "umount", "--lazy", str(folder)], check=True)
