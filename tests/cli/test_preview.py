"""A preview on the command line: files to open, sizes, and what readers would stumble over."""

from __future__ import annotations

from email import message_from_bytes, policy
from pathlib import Path

import pytest

from mailer.mail.locales import available
from tests.cli.operator import Operator
from tests.support.press_room import DRAFT, SLUG
from tests.support.releases import RELEASE


@pytest.fixture
def editor(tmp_path: Path) -> Operator:
    """Somebody with a release and a terminal: no database, no settings."""
    return Operator({}, tmp_path)


def test_a_release_is_written_in_every_language_without_any_setting(editor: Operator) -> None:
    folder = editor.folder / "utkast" / "en"
    said = editor.does("release", "preview", editor.release_file(), "--folder", str(folder))
    names = {f"{locale}.{kind}" for locale in available() for kind in ("html", "txt", "eml")}
    assert {path.name for path in folder.iterdir()} == names
    assert RELEASE["lead"] in (folder / "nb.html").read_text(encoding="utf-8")
    assert RELEASE["lead"] in (folder / "nb.txt").read_text(encoding="utf-8")
    message = message_from_bytes((folder / "nb.eml").read_bytes(), policy=policy.default)
    assert message["Subject"] == RELEASE["title"]
    for locale in available():
        assert f"{folder / locale}.html" in said.out
    assert "octets" in said.out
    assert said.err == ""


def test_without_a_folder_it_is_one_named_after_the_reference(editor: Operator) -> None:
    editor.does("release", "preview", editor.release_file())
    assert (editor.folder / RELEASE["reference"] / "nb.html").is_file()


def test_warnings_are_said_and_nothing_fails(editor: Operator) -> None:
    file = editor.release_file(web_url="http://example.org/", reference="a" * 200)
    said = editor.does("release", "preview", file, "--folder", str(editor.folder / "a"))
    assert said.err == "web_url: This address does not begin with https://: http://example.org/.\n"


def test_again_writes_over_what_was_there(editor: Operator) -> None:
    folder = editor.folder / "utkast"
    for title in ("Først", "Sist"):
        file = editor.release_file(title=title)
        editor.does("release", "preview", file, "--folder", str(folder))
    assert "Sist" in (folder / "nb.txt").read_text(encoding="utf-8")


def test_a_release_that_cannot_be_published_is_told_so(editor: Operator) -> None:
    sentence = editor.run("release", "preview", editor.release_file(title="")).sentence
    assert sentence.startswith("title: ")


def test_a_place_where_nothing_can_be_written_is_named(editor: Operator) -> None:
    file = editor.release_file()
    said = editor.run("release", "preview", file, "--folder", f"{file}/inside")
    assert "release.json/inside" in said.sentence


def test_a_publishers_own_release_comes_from_the_publisher(operator: Operator) -> None:
    operator.opens_a_room()
    folder = operator.folder / "utkast"
    options = ("--publisher", SLUG, "--folder", str(folder))
    operator.does("release", "preview", operator.release_file(), *options)
    message = message_from_bytes((folder / "nb.eml").read_bytes(), policy=policy.default)
    [sender] = message["From"].addresses
    assert (sender.display_name, sender.addr_spec) == (DRAFT.name, DRAFT.from_address)


def test_a_publisher_that_is_not_there_is_one_sentence(operator: Operator) -> None:
    file = operator.release_file()
    said = operator.run("release", "preview", file, "--publisher", "ingen")
    assert "no press room" in said.sentence
