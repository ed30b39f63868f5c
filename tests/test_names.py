"""Names of modules and classes are made of words that a stranger knows, listed in docs/names.md."""

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted((ROOT / "mailer").rglob("*.py"))
OWNERS = {"plain English", "glossary", "ours"}
STANDARDS = {"GDPR", "HTML", "schema.org", "sitemaps.org"}
PROGRAMS = {"PostgreSQL", "Postfix", "Python", "qmail"}
OURS_AT_MOST = 10
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_ROW = re.compile(r"^\| ([a-z0-9 ,]+?) \| ([^|]+?) \| ([^|]*?) *\|$", re.MULTILINE)


def names(path: Path) -> Iterator[str]:
    """Name a module, as its file or its folder does, and the classes in it."""
    yield path.parent.name if path.stem == "__init__" else path.stem.strip("_")
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ClassDef):
            yield node.name


def words(name: str) -> set[str]:
    """Split a name such as `SmtpConnection` or `send_rate` into words, in lower case."""
    return {word.lower() for word in _WORD.findall(name)}


def listed() -> dict[str, tuple[str, str]]:
    """Map each listed word to its owner and the remark beside it."""
    heading, *rows = _ROW.findall((ROOT / "docs" / "names.md").read_text())
    assert heading[0] == "words"
    found = [(word, owner, remark) for group, owner, remark in rows for word in group.split(", ")]
    assert len({word for word, _, _ in found}) == len(found), "a word is listed twice"
    return {word: (owner, remark) for word, owner, remark in found}


@cache
def libraries() -> set[str]:
    """Return the names of the libraries that the project depends on, in lower case."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    return {re.split(r"[\[><=]", one)[0].lower() for one in wanted}


def glossary() -> set[str]:
    """Return every word of the first column of the README's glossary."""
    table = (ROOT / "README.md").read_text().partition("| word | means |")[2].partition("\n\n")[0]
    entries = re.findall(r"^\| ([^|]+) \|", table, re.MULTILINE)
    return {word for entry in entries for word in re.findall(r"[a-z]+", entry)}


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("SmtpConnection", {"smtp", "connection"}),
        ("send_rate", {"send", "rate"}),
        ("_HTMLFinder", {"html", "finder"}),
    ],
)
def test_a_name_is_split_into_its_words(name: str, parts: set[str]) -> None:
    assert words(name) == parts


def test_every_name_is_made_of_listed_words() -> None:
    known = listed().keys()
    unknown = {
        f"{path.relative_to(ROOT)}: {name}": sorted(words(name) - known)
        for path in MODULES
        for name in names(path)
        if words(name) - known
    }
    assert not unknown, "use a word of an RFC, a library, the glossary or plain English"


def test_no_word_is_listed_that_no_name_has() -> None:
    used = {word for path in MODULES for name in names(path) for word in words(name)}
    assert listed().keys() <= used


def test_every_word_has_an_owner_that_can_be_looked_up() -> None:
    for word, (owner, remark) in listed().items():
        for one in owner.split(", "):
            known = one in OWNERS | STANDARDS | PROGRAMS or one.lower() in libraries()
            assert known or re.fullmatch(r"RFC \d+", one), f"whose word is {word}?"
        assert owner != "ours" or remark.endswith("."), f"{word} needs a reason"


def test_few_words_are_ours() -> None:
    assert sum(owner == "ours" for owner, _ in listed().values()) <= OURS_AT_MOST


def test_words_of_the_glossary_stand_in_it() -> None:
    claimed = {word for word, (owner, _) in listed().items() if owner == "glossary"}
    known = {form for word in glossary() for form in (word, f"{word}s", f"{word}es")}
    assert claimed <= known
