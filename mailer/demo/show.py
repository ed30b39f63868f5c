"""From the first line to the last: the parts come up, the story is played, the parts stay up."""

from __future__ import annotations

import json
import shlex
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from mailer.demo import samples
from mailer.demo.parts import Parts
from mailer.demo.story import Story
from mailer.demo.telling import StepFailed, Telling

_INTERRUPTED = 130
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_LOOKED_AFTER_EVERY_SECONDS = 1.0


def run(*, once: bool, release: Path | None) -> int:
    """Play the story and return the exit status: 0 only if every step was seen to work."""
    chosen = samples.read(release)
    telling = Telling()
    with _interruptible() as leave_alone, Parts.running() as parts:
        try:
            return _perform(parts, telling, chosen, once=once)
        except StepFailed as failure:
            telling.failed(str(failure))
            _show_logs(parts, telling)
            return 1
        except KeyboardInterrupt:
            return _INTERRUPTED
        finally:
            # A second Ctrl-C would leave behind what the first is clearing away.
            leave_alone()
            telling.line("Clearing away: no process and no file stays behind.")


def _perform(parts: Parts, telling: Telling, release: samples.Release, *, once: bool) -> int:
    began = time.monotonic()
    telling.chapter("Everything starts on this machine")
    parts.start()
    for sentence, link in (
        ("Database, Valkey and workers are up.", ""),
        ("The inbox takes every mail; none leaves this machine.", parts.page.url),
        ("The web process answers.", parts.web_url),
    ):
        telling.step(sentence, link)
    story = Story(parts, telling)
    story.play(release)
    _expect_all(parts)
    telling.chapter(f"All {telling.steps} steps worked, in {time.monotonic() - began:.0f} s.")
    if not once:
        _stay_up(parts, telling, story)
    return 0


def _stay_up(parts: Parts, telling: Telling, story: Story) -> None:
    """Show where everything is, and wait for Ctrl-C; raises StepFailed if a part ends."""
    example = parts.folder / "example.json"
    another = samples.placed(samples.follow_up(), parts.page.site_url) | {
        "reference": "my-release-1"
    }
    example.write_text(json.dumps(another, ensure_ascii=False, indent=2), encoding="utf-8")
    telling.line("Press room", story.room_url)
    telling.line("Inbox", f"{parts.page.url}/")
    telling.line("API key", story.office.api_key)
    telling.line("Logs and data", str(parts.folder))
    telling.chapter("Publish something yourself; a new release needs a new “reference”:")
    authority = shlex.quote(f"Authorization: Bearer {story.office.api_key}")
    telling.line(
        f"curl -H {authority} -H 'Content-Type: application/json' "
        f"--data @{shlex.quote(str(example))} {parts.web_url}/api/v1/releases"
    )
    telling.chapter("Everything stays up until Ctrl-C.")
    try:
        while True:
            # Until Ctrl-C there is nothing to do but see that all parts stand.
            time.sleep(_LOOKED_AFTER_EVERY_SECONDS)
            _expect_all(parts)
    except KeyboardInterrupt:
        return


def _expect_all(parts: Parts) -> None:
    """Raise StepFailed if a part is no longer there."""
    if fallen := parts.fallen:
        raise StepFailed(f"The part “{fallen[0].name}” has ended by itself.")


def _show_logs(parts: Parts, telling: Telling) -> None:
    """Show how the log of whoever has fallen ends, or of all if everyone stands."""
    for child in parts.fallen or parts.children:
        if lines := child.last_lines:
            telling.quote(f"The log of “{child.name}” ends so:", lines)


@contextmanager
def _interruptible() -> Iterator[Callable[[], None]]:
    """Let a request to end be a KeyboardInterrupt, until the given function is called."""
    before = {number: signal.signal(number, _interrupt) for number in _ENDING}

    def leave_alone() -> None:
        for number in _ENDING:
            signal.signal(number, signal.SIG_IGN)

    try:
        yield leave_alone
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
