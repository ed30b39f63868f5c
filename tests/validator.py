"""html-validate, which finds what is no valid HTML."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.node import NODE
from tests.processes import PATIENCE_SECONDS
from tests.servers import find_program

_VALIDATOR = NODE / "node_modules" / "html-validate" / "bin" / "html-validate.mjs"


def problems(folder: Path) -> list[str]:
    """Return what the validator says of the pages in a folder, a line each."""
    configuration = folder / "rules.json"
    configuration.write_text(json.dumps({"root": True, "extends": ["html-validate:standard"]}))
    pages, said = sorted(folder.glob("*.html")), folder / "said.json"
    options = ["--config", configuration, "--formatter", f"json={said}"]
    subprocess.run(
        [find_program("node"), *map(str, [_VALIDATOR, *options, *pages])],
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    return [
        f"{Path(page['filePath']).name}:{found['line']}: {found['ruleId']}: {found['message']}"
        for page in json.loads(said.read_text())
        for found in page["messages"]
    ]
