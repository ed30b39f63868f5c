"""The demo: it runs its story to the end, says what failed, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from tests.processes import Process, alive, eventually
from tests.servers import temporary_folder
from tests.service import complete

COMMAND = [sys.executable, "-m", "mailer", "demo"]
OURS = "Fiskeskøyta «Solbris» er hjemme igjen etter over hundre år"

# Loaded by every Python process of the demo, as its environment says.
BROKEN_TEMPLATE = """
import jinja2

real = jinja2.FileSystemLoader.get_source


def get_source(self, environment, template):
    source, *rest = real(self, environment, template)
    return source.replace({old!r}, {new!r}) if template.endswith({name!r}) else source, *rest


jinja2.FileSystemLoader.get_source = get_source
"""
FORGETFUL_API = """
import io
import json
import uuid

import flask

real = flask.Flask.wsgi_app


def wsgi_app(self, environ, start_response):
    if environ["PATH_INFO"] == "/api/v1/releases":
        release = json.load(environ["wsgi.input"])
        release |= {"reference": uuid.uuid4().hex, "again": True}
        body = json.dumps(release).encode()
        environ |= {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
    return real(self, environ, start_response)


flask.Flask.wsgi_app = wsgi_app
"""
# Takes the port of gunicorn just before it does, and answers everything there.
OTHER_PROGRAM = """
import http.server
import os
import pathlib
import sys
import threading


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        pathlib.Path({record!r}).touch()
        self.send_response(200)
        self.end_headers()


if any(word.endswith("/gunicorn") for word in sys.orig_argv):
    address = ("127.0.0.1", int(os.environ["PORT"]))
    server = http.server.HTTPServer(address, Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where the demo makes its own folder; it must be empty in the end."""
    with temporary_folder() as path:
        yield path


@pytest.fixture
def demo(folder: Path, tmp_path: Path) -> Iterator[Process]:
    """A demo that stays up, with the release of `another`."""
    command = [*COMMAND, "--release", str(another(tmp_path))]
    process = Process(command, tmp_path / "log", environment=surroundings(folder))
    process.launch()
    yield process
    process.stop()


def another(folder: Path) -> Path:
    """Write a release that is neither our sample nor new."""
    file = folder / "release.json"
    release = {
        "reference": "a-bridge-opens",
        "language": "en",
        "title": "The new bridge is open",
        "body_html": "<p>It opened <b>today</b>.</p>",
        "published_at": "2020-02-02T12:00:00+01:00",
        "hold_minutes": 30,
    }
    file.write_text(json.dumps(release))
    return file


def surroundings(folder: Path, **more: str) -> dict[str, str]:
    return complete({"TMPDIR": str(folder), "PYTHONUTF8": "1", **more})


def once(
    environment: Mapping[str, str], *options: str, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, "--once", *options],
        env=environment,
        cwd=cwd,
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )


def sabotaged(folder: Path, tmp_path: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run the demo with code that every Python process of it loads at its start."""
    (tmp_path / "sitecustomize.py").write_text(code)
    return once(surroundings(folder, PYTHONPATH=str(tmp_path)))


def descendants(pid: int) -> set[int]:
    """List the children of a process, and theirs."""
    found: set[int] = set()
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        # A thread may end between being found and being read.
        with suppress(FileNotFoundError, ProcessLookupError):
            for child in map(int, file.read_text().split()):
                found |= {child, *descendants(child)}
    return found


def gone(pids: set[int]) -> bool:
    return not any(alive(pid) for pid in pids)


def running(demo: Process, words: str) -> int:
    """Find the process of the demo that was started with these words."""
    for pid in sorted(descendants(demo.pid)):
        if words in Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " "):
            return pid
    raise AssertionError(f"nothing runs {words}")


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as answer:
        text: str = answer.read().decode()
        return text


def test_once_runs_the_whole_story_and_leaves_nothing_behind(folder: Path) -> None:
    done = once(surroundings(folder))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"“{OURS}” is published" in done.stdout
    assert "the receipt balances: 4 = 4 accepted" in done.stdout
    assert "the receipt balances: 2 = 2 accepted" in done.stdout
    assert "who have left, get nothing" in done.stdout
    assert done.stdout.count("✓") == 24
    assert "All 24 steps worked" in done.stdout
    assert "✗" not in done.stdout
    assert done.stderr == ""
    assert list(folder.iterdir()) == []


def test_no_setting_of_the_user_gets_in(folder: Path, tmp_path: Path) -> None:
    """Not from the environment, and not from the folder that the demo is started in."""
    (tmp_path / "gunicorn.conf.py").write_text("raise SystemExit('a foreign configuration')")
    (tmp_path / ".env").write_text("DATABASE_URL=sqlite:////nowhere/mailer.db\n")
    (tmp_path / "Procfile").write_text("web: false\n")
    foreign = {
        "BASE_URL": "https://follow.example.org",
        "BIND": "0.0.0.0",
        "DATABASE_URL": "postgresql+psycopg://nobody@nowhere.example/mailer",
        "FLASK_DEBUG": "1",
        "GUNICORN_CMD_ARGS": "--bind 127.0.0.1:1",
        "http_proxy": "http://127.0.0.1:1",
        "MAILER_DKIM_KEYS": "no-key",
        "MAILER_MESSAGES_A_SECOND": "0.001",
        "PORT": "1",
        "PROCFILE": "elsewhere",
        "REDIS_URL": "redis://nowhere.example",
        "SECRET_KEYS": "short",
        "SMTP_URL": "smtp://nowhere.example",
        "WEB_CONCURRENCY": "none",
    }
    done = once(surroundings(folder, **foreign), cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_two_that_begin_at_once_share_no_address(folder: Path, tmp_path: Path) -> None:
    command, environment = [*COMMAND, "--once"], surroundings(folder)
    both = [Process(command, tmp_path / name, environment=environment) for name in ("a", "b")]
    for demo in both:
        demo.launch()
    assert [demo.wait() for demo in both] == [0, 0], both[0].log + both[1].log
    one, other = (set(re.findall(r"http://127\.0\.0\.1:\d+", demo.log)) for demo in both)
    assert len(one) == len(other) == 2
    assert not one & other


def test_stays_up_with_what_it_sent_until_it_is_interrupted(folder: Path, demo: Process) -> None:
    demo.ready(lambda: "until Ctrl-C" in demo.log)
    links = dict(re.findall(r"^ +(Press room|Inbox) +(http\S+)$", demo.log, re.MULTILINE))
    assert "Vindvik kystmuseum" in fetch(links["Press room"])
    assert fetch(links["Inbox"]).count("The new bridge is open") == 4
    assert fetch(f"{links['Inbox']}?to=ola@example.org").count("The new bridge is open") == 1
    mails = re.findall(r"has it, in .*\. (http\S+/mails/\d+)$", demo.log, re.MULTILINE)
    assert "sandbox=" in fetch(mails[0])
    assert "The new bridge is open" in fetch(f"{mails[0]}/text")
    assert "List-Unsubscribe-Post" in fetch(f"{mails[0]}/source")

    [own] = folder.iterdir()
    assert own.stat().st_mode & 0o077 == 0
    [curl] = re.findall(r"^ +(curl .*)$", demo.log, re.MULTILINE)
    published = subprocess.run(curl, shell=True, capture_output=True, check=True)
    assert json.loads(published.stdout)["links"]["receipt"]

    started = descendants(demo.pid)
    assert len(started) >= 5
    demo.signal(signal.SIGINT)
    demo.signal(signal.SIGINT)
    assert demo.wait() == 0
    assert gone(started)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("moment", ["Everything starts", "✓ Kari signs up"])
def test_leaves_nothing_when_it_is_told_to_end(
    number: signal.Signals, moment: str, folder: Path, demo: Process
) -> None:
    demo.ready(lambda: moment in demo.log and descendants(demo.pid))
    started = descendants(demo.pid)
    demo.signal(number)
    assert demo.wait() == 130
    assert gone(started)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("moment", ["Everything starts", "✓ Kari signs up"])
def test_leaves_no_process_when_it_is_killed(moment: str, demo: Process) -> None:
    demo.ready(lambda: moment in demo.log and descendants(demo.pid))
    started = descendants(demo.pid)
    demo.kill()
    eventually(lambda: gone(started), "the end of every process")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("valkey", "valkey-server"),
        ("web", "/gunicorn --bind"),
        ("letters", "mailer worker letters"),
        ("sweep", "mailer sweep"),
    ],
)
def test_says_which_process_has_ended(name: str, words: str, folder: Path, demo: Process) -> None:
    demo.ready(lambda: "✓ Kari signs up" in demo.log)
    started = descendants(demo.pid)
    os.kill(running(demo, words), signal.SIGKILL)
    assert demo.wait() == 1
    assert f"The process “{name}” has ended by itself." in demo.log
    assert f"{name} stopped (rc=-9)" in demo.log
    assert gone(started)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("template", "step", "seen"),
    [
        (
            ("release/body.html", '<a href="{{ document.url }}">', "<a>"),
            "Kari has it, in Norwegian bokmål.",
            "/program.pdf",
        ),
        (
            ("confirm.html", 'method="post"', 'method="get"'),
            "Kari follows the link, presses the button and is welcomed.",
            "has no form",
        ),
    ],
)
def test_a_broken_page_or_letter_fails_its_step(
    template: tuple[str, str, str], step: str, seen: str, folder: Path, tmp_path: Path
) -> None:
    name, old, new = template
    done = sabotaged(folder, tmp_path, BROKEN_TEMPLATE.format(name=name, old=old, new=new))
    assert done.returncode == 1, done.stdout
    [failure] = re.findall(r"^  ✗ (.*)\n +(.*)$", done.stdout, re.MULTILINE)
    assert failure[0] == step
    assert seen in failure[1]


def test_an_api_that_makes_two_releases_of_one_call_fails_its_step(
    folder: Path, tmp_path: Path
) -> None:
    done = sabotaged(folder, tmp_path, FORGETFUL_API)
    assert done.returncode == 1, done.stdout
    assert f"✗ “{OURS}” is published, safely twice." in done.stdout
    assert "The same call again made another release" in done.stdout


def test_does_not_talk_to_another_program_on_its_port(folder: Path, tmp_path: Path) -> None:
    record = tmp_path / "requests"
    done = sabotaged(folder, tmp_path, OTHER_PROGRAM.format(record=str(record)))
    assert done.returncode == 1, done.stdout
    assert "The process “web” has ended by itself." in done.stdout
    assert not record.exists()


@pytest.mark.parametrize("content", ["{", "[1]", '{"title": "It lacks everything else"}'])
def test_refuses_a_release_that_cannot_be_published(
    content: str, folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / "release.json"
    file.write_text(content)
    done = once(surroundings(folder), "--release", str(file))
    assert done.returncode == 1
    assert str(file) in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
