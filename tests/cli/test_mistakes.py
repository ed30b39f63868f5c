"""What goes wrong at the terminal is one sentence that says how to mend it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest

from mailer.cli import commands
from mailer.config import Settings
from tests.cli.operator import Operator
from tests.processes import free_port
from tests.service import complete
from tests.support.press_room import KARI, SLUG
from tests.support.releases import release

COMMANDS = commands.list_commands(click.Context(commands))
REQUIRED = [field.alias for field in Settings.model_fields.values() if field.is_required()]
SECRET = "hemmelig"
NOTHING = Operator({}, Path())


def test_help_needs_no_settings() -> None:
    said = NOTHING.does("--help")
    assert COMMANDS
    for name in COMMANDS:
        assert name in said.out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_without_settings(name: str) -> None:
    """A program of its own, which imports what it needs."""
    program = [sys.executable, "-m", "mailer", name, "--help"]
    said = subprocess.run(program, env=complete({}), capture_output=True, check=True)
    assert b"Usage:" in said.stdout


def test_every_missing_setting_is_named_at_once(clerk: Operator) -> None:
    said = NOTHING.run("db", "upgrade")
    assert said.status == 1
    assert "Traceback" not in said.err
    assert [line.partition(":")[0] for line in said.err.splitlines()] == REQUIRED


@pytest.mark.parametrize("name", REQUIRED)
def test_an_empty_setting_is_a_missing_one(clerk: Operator, name: str | None) -> None:
    assert name is not None
    sentence = clerk.run("publisher", "key", SLUG, **{name: ""}).sentence
    assert sentence.startswith(f"{name}: ")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", f"mysql://kari:{SECRET}@db/mailer"),
        ("DATABASE_URL", f"postgresql+psycopg://kari:{SECRET}@db:port/mailer"),
        ("DATABASE_URL", f"postgresql+psycopg://kari@db:{SECRET}/mailer"),
        ("REDIS_URL", f"http://:{SECRET}@redis"),
        ("REDIS_URL", f"redis://redis:{SECRET}"),
        ("REDIS_URL", f"redis://:{SECRET}@redis:port"),
        ("SMTP_URL", f"http://kari:{SECRET}@relay"),
        ("SMTP_URL", f"smtp://kari:{SECRET}"),
        ("SMTP_URL", f"smtp://kari:{SECRET}/pass@relay:25"),
        ("SMTP_URL", f"smtp://kari:pass?{SECRET}@relay:25"),
        ("SMTP_URL", f"smtp://kari:{SECRET}\N{CARE OF}@relay:25"),
        ("SMTP_URL", f"smtp://kari:{SECRET}@relay:587?starttls=maybe"),
        ("SMTP_URL", f"smtp://kari:{SECRET}@relay:99999"),
        ("SMTP_URL", f"smtp://kari:{SECRET}@relay.example.org:25"),
        ("SECRET_KEYS", SECRET),
        ("SECRET_KEYS", "a" * 39),
        ("SECRET_KEYS", "abcabcabc" * 8),
        ("SECRET_KEYS", f"{'k' * 64},{SECRET}"),
        ("BASE_URL", f"https://follow.example.org/?{SECRET}"),
        ("BASE_URL", f"https://follow.example.org:{SECRET}"),
        ("BASE_URL", "http://follow.example.org"),
        ("BASE_URL", f"https://kari:{SECRET}@follow.example.org"),
        ("BASE_URL", f"https://{SECRET}@follow.example.org"),
        ("BASE_URL", "https://[::1"),
        ("BASE_URL", "https://follow.example.org/nyheter"),
        ("BASE_URL", f"https://follow.example.org/#{SECRET}"),
        ("MAILER_FORMER_HOSTS", f"https://{SECRET}.example.org"),
        ("MAILER_FORMER_HOSTS", f"old.example.org,,{SECRET}"),
        ("BASE_URL", "https://følg.example.org"),
        ("MAILER_MAIL_DOMAIN", f"{SECRET}"),
        ("MAILER_MAIL_DOMAIN", f"kari@{SECRET}.example.org"),
        ("MAILER_MAIL_DOMAIN", f"{SECRET}..example.org"),
        ("MAILER_MAIL_DOMAIN", f"{'in.' * 64}{SECRET}.org"),
        ("MAILER_CONNECTIONS", SECRET),
        ("MAILER_CONNECTIONS", "0"),
        ("MAILER_LEASE_SECONDS", "1e9"),
        ("MAILER_SMTPUTF8", SECRET),
    ],
)
def test_a_setting_that_makes_no_sense_is_named_and_not_repeated(
    clerk: Operator, name: str, value: str
) -> None:
    sentence = clerk.run("publisher", "key", SLUG, **{name: value}).sentence
    assert sentence.startswith(f"{name}: ")
    assert SECRET not in sentence


@pytest.mark.parametrize(
    "arguments",
    [
        ("publisher", "key", "nobody"),
        ("publisher", "add", "Å", "--name", "A", "--from", "a@example.org"),
        ("publisher", "add", "a", "--name", "A", "--from", "nobody"),
        ("publisher", "add", "a", "--name", "", "--from", "a@example.org"),
        ("publisher", "add", SLUG, "--name", "A", "--from", "a@example.org"),
        ("release", "receipt", "4711"),
        ("release", "receipt", str(2**63)),
        ("release", "stop", "4711"),
        ("release", "resume", "4711"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(clerk: Operator, arguments: tuple[str, ...]) -> None:
    assert clerk.run(*arguments).sentence.endswith(".")


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff", b"[" * 100_000, b'{"a": ' + b"1" * 9_999 + b"}", b"[]"],
    ids=["empty", "half", "no UTF-8", "deep", "huge", "list"],
)
def test_a_file_that_is_no_release_is_one_sentence(clerk: Operator, content: bytes) -> None:
    file = clerk.file("broken.json", content)
    assert clerk.run("release", "publish", SLUG, file).sentence.endswith(".")


def test_a_release_that_is_wrong_says_in_which_field(clerk: Operator) -> None:
    content = {name: value for name, value in release().items() if name != "language"}
    file = clerk.file("wrong.json", json.dumps(content).encode())
    assert "language" in clerk.run("release", "publish", SLUG, file).sentence


def test_every_wrong_field_of_a_release_is_named(clerk: Operator) -> None:
    said = clerk.run("release", "publish", SLUG, clerk.release_file(title="", image={}))
    assert said.status == 1
    for field in ("title", "image.url", "image.alt"):
        assert field in said.err


@pytest.mark.parametrize("content", [b"", b"email\n", b"\xff\xfea\0d\0", f"{KARI}\n".encode()])
def test_a_file_that_names_no_columns_is_one_sentence(clerk: Operator, content: bytes) -> None:
    said = clerk.run("subscriber", "import", SLUG, clerk.file("a.csv", content))
    assert said.status == 1
    assert "address, confirmed_at, locale" in said.err
    assert "Traceback" not in said.err


def test_a_file_that_is_not_there_is_named(clerk: Operator) -> None:
    said = clerk.run("release", "publish", SLUG, "/nowhere.json")
    assert said.status == 2
    assert "/nowhere.json" in said.err


@pytest.mark.parametrize("command", [("publisher", "key", SLUG), ("db", "upgrade")])
@pytest.mark.parametrize(
    "url",
    ["postgresql+psycopg://kari:hemmelig@127.0.0.1:{port}/mailer", "sqlite:////nowhere/mailer.db"],
)
def test_a_database_that_is_away_is_one_sentence(
    clerk: Operator, command: tuple[str, ...], url: str
) -> None:
    sentence = clerk.run(*command, DATABASE_URL=url.format(port=free_port())).sentence
    assert SECRET not in sentence


def test_a_database_without_tables_is_one_sentence(clerk: Operator) -> None:
    url = f"sqlite:///{clerk.folder / 'empty.sqlite3'}"
    assert "mailer db upgrade" in clerk.run("publisher", "key", SLUG, DATABASE_URL=url).sentence
