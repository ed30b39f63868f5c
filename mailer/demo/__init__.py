"""The demo: the whole service on this machine with nothing to install, and a story that tests it.

- `run`: runs the story, keeps everything up until Ctrl-C, and clears away
- `story`: the list of steps, seen from outside over HTTP and SMTP only
- `followers` and `publisher`: what each of them does in a step
- `samples`: the releases that are published
- `services`: the processes of the Procfile and Valkey, run by honcho, and their addresses;
  `die_with_parent` ties each to the one that started it
- `inbox`: an SMTP server that keeps every mail, and the pages that show them
- `http_client`: requests, and what is on the pages and in the letters
- `console_output`: what the terminal shows
"""

from __future__ import annotations

from pathlib import Path

from mailer.errors import Misconfigured


def run(*, once: bool, release: Path | None) -> int:
    """Run the story on the sample release or another one, and return the exit status.

    With `once` the demo ends after the story, else at Ctrl-C. Raises Misconfigured without the
    packages of `mailer[demo]`, and InvalidInput for a release that cannot be published.
    """
    try:
        from mailer.demo.run import run_demo  # noqa: PLC0415 - needs the packages of the extra
    except ModuleNotFoundError as missing:
        sentence = f"The demo needs {missing.name}. Install it with: pip install 'mailer[demo]'"
        raise Misconfigured(sentence) from None
    return run_demo(once=once, release=release)
