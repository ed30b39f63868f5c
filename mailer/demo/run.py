"""The demo from start to end: the story runs, then everything stays up until Ctrl-C."""

from __future__ import annotations

import io
import json
import shlex
import signal
import sys
import tempfile
import time
from contextlib import closing, suppress
from pathlib import Path

import click

from mailer.demo import samples
from mailer.demo.console_output import StepFailed, heading, line, run_steps
from mailer.demo.publisher import Publisher
from mailer.demo.services import ENDING_SIGNALS, Services
from mailer.demo.story import steps

_INTERRUPTED = 130


def run_demo(*, once: bool, release: Path | None) -> int:
    """Run the demo and return the exit status: 0 only if every step worked."""
    chosen, status = samples.read(release or samples.RELEASE), _INTERRUPTED
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that cannot show an å is no reason to stop.
        sys.stdout.reconfigure(errors="replace")
    for number in ENDING_SIGNALS:
        signal.signal(number, signal.default_int_handler)
    with (
        suppress(KeyboardInterrupt),
        tempfile.TemporaryDirectory(prefix="mailer-demo-") as folder,
        closing(Services(Path(folder).resolve())) as services,
    ):
        try:
            publisher = Publisher(services)
            _run_story(services, publisher, chosen)
            status = 0
            if not once:
                _stay_up(services, publisher)
        except StepFailed as failed:
            status = 1
            _explain(failed, services)
        finally:
            # A second Ctrl-C would leave behind what the first is clearing away.
            signal.pthread_sigmask(signal.SIG_BLOCK, ENDING_SIGNALS)
            line("Clearing away: no process and no file stays behind.")
    return status


def _run_story(services: Services, publisher: Publisher, release: samples.Release) -> None:
    """Run every step; raises StepFailed if one does not work, or a process has ended."""
    began = time.monotonic()
    done = run_steps(steps(services, publisher, release))
    if services.ended_process(0):
        raise StepFailed("A process did not last until the end of the story.")
    heading(f"All {done} steps worked, in {time.monotonic() - began:.0f} s.")


def _stay_up(services: Services, publisher: Publisher) -> None:
    """Print where everything is, and wait for Ctrl-C; raises StepFailed if a process ends."""
    example = services.folder / "example.json"
    release = samples.placed(samples.read(samples.FOLLOW_UP), f"{services.pages_url}/site")
    own = {"reference": "my-release-1", "title": "Min første pressemelding"}
    example.write_text(json.dumps(release | own, indent=2))
    line("Press room    ", publisher.room_url)
    line("Inbox         ", f"{services.pages_url}/")
    line("API key       ", publisher.api_key)
    line("Logs and data ", str(services.folder))
    heading("Publish something yourself; a new release needs a new “reference” and other content:")
    headers = f"-H 'Authorization: Bearer {publisher.api_key}' -H 'Content-Type: application/json'"
    data = f"--data @{shlex.quote(str(example))}"
    line(f"curl {headers} {data} {services.web_url}/api/v1/releases")
    heading("Everything stays up until Ctrl-C.")
    services.ended_process()
    raise StepFailed("The demo cannot stay up.")


def _explain(failed: StepFailed, services: Services) -> None:
    """Print what failed, and the end of the log: of the process that has ended, or of all."""
    line(str(failed), mark=click.style("  ✗ ", "red", bold=True))
    ended = services.ended_process(3)
    sentence = f"The process “{ended}” has ended by itself. Its log ends so:"
    heading(sentence if ended else "The log ends so:")
    line(services.log(ended))
