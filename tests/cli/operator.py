"""An operator at a terminal: runs `mailer …` as a program, and reads what it says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cli import program
from tests.service import complete
from tests.support.press_room import DRAFT, SLUG
from tests.support.releases import release


@dataclass(frozen=True)
class Said:
    """What a command has said, and how it ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """Its answer, which is nothing but JSON."""
        answer: dict[str, Any] = json.loads(self.out)
        return answer

    @property
    def sentence(self) -> str:
        """The one sentence of a command that failed."""
        assert self.status == 1, self
        assert self.out == ""
        assert "Traceback" not in self.err
        [sentence] = self.err.splitlines()
        return sentence


@dataclass(frozen=True)
class Operator:
    """Runs commands in one environment and one folder, where the files are."""

    environment: Mapping[str, str]
    folder: Path

    def run(self, *arguments: str, **variables: str) -> Said:
        """Run `mailer` with these arguments; an empty variable is as good as none."""
        return self.feed(b"", *arguments, **variables)

    def feed(self, octets: bytes, *arguments: str, **variables: str) -> Said:
        """Run it with these arguments, on what it shall read from standard input."""
        environment = complete({**self.environment, **variables})
        return Said(*program.run(arguments, environment, self.folder, octets))

    def does(self, *arguments: str) -> Said:
        """Run a command that works."""
        said = self.run(*arguments)
        assert said.status == 0, said
        return said

    def opens_a_room(self, slug: str = SLUG) -> str:
        """Open a press room, and give its key."""
        options = ("--name", DRAFT.name, "--from", DRAFT.from_address, "--json")
        key: str = self.does("publisher", "add", slug, *options).json["api_key"]
        return key

    def file(self, name: str, content: bytes) -> str:
        """Write a file, and give its path."""
        path = self.folder / name
        path.write_bytes(content)
        return str(path)

    def release_file(self, **changes: Any) -> str:
        """Write the release to a file."""
        return self.file("release.json", json.dumps(release(**changes)).encode())
