"""The promises of the whole house, kept by reading its source.

Here: the floor plan, the ceilings, docstrings, names, and what no file may mention. Each of the
other promises belongs in this file too, as one test: every route is guarded or deliberately open,
job names resolve, every setting is documented, every letter is complete in every locale, the
migrations match the models.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "mailer"
MODULES = sorted(PACKAGE.rglob("*.py"))
PYTHON = [
    *MODULES,
    *sorted((ROOT / "migrations").rglob("*.py")),
    *sorted((ROOT / "tests").rglob("*.py")),
]

FLOORS = {
    "__main__": 6,
    "cli": 5,
    "demo": 5,
    "app": 4,
    "web": 3,
    "api": 3,
    "console": 3,
    "fanout": 3,
    "domain": 2,
    "mail": 1,
    "storage": 1,
    "config": 0,
    "errors": 0,
}
# Two pairs of single modules, not of rooms: a setting that is off is one of the errors, and the
# demo is one of the commands.
NEIGHBOURS = {("config", "errors"), ("cli", "demo")}

KNOW_FLASK = {"web", "api", "console", "app", "cli", "demo"}
FLASK = {"flask", "flask_limiter", "flask_sqlalchemy", "werkzeug"}
# The one place below the doors that needs the application: it holds the engine.
STORAGE_MAY_KNOW = {"flask.current_app", "flask_sqlalchemy.SQLAlchemy"}

MODULE_CEILING = 300
FUNCTION_CEILING = 40
FORBIDDEN_NAMES = {"common", "helper", "helpers", "manager", "misc", "util", "utils"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def name_of(path: Path) -> str:
    """Name a file as it stands in the checkout, which is also its name as a test case."""
    return str(path.relative_to(ROOT))


def room_of(path: Path) -> str:
    """Name the room of a module: a folder, or a module that stands alone."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    """List what a module imports anywhere, also inside functions, by full dotted names."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else ()
            origin = [*above, *([node.module] if node.module else [])]
            yield from (".".join([*origin, alias.name]) for alias in node.names)


def public_definitions(body: list[ast.stmt]) -> Iterator[Function | ast.ClassDef]:
    """List the functions and classes, and the methods of the classes, that others may use."""
    for node in body:
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from public_definitions(node.body)


def project_files() -> Iterator[Path]:
    """List the files of the project, without what tools and installations leave behind."""
    yield from (path for path in ROOT.iterdir() if path.is_file())
    for folder in (".ci", "docs", "mailer", "migrations", "templates", "tests"):
        yield from (
            path for path in (ROOT / folder).rglob("*") if path.is_file() and path.suffix != ".pyc"
        )


@pytest.fixture(params=MODULES, ids=name_of)
def module(request: pytest.FixtureRequest) -> Path:
    """Each module of the package in turn."""
    path: Path = request.param
    return path


def test_every_room_is_on_the_floor_plan() -> None:
    assert {room_of(path) for path in MODULES} - {"__init__"} <= set(FLOORS)


def test_the_map_imports_nothing() -> None:
    assert not list(imports(PACKAGE / "__init__.py"))


def test_imports_only_go_down(module: Path) -> None:
    own = room_of(module)
    names = {name.split(".")[1] for name in imports(module) if name.startswith("mailer.")}
    wrong = {
        room
        for room in (names & set(FLOORS)) - {own}
        if FLOORS[own] <= FLOORS[room] and (own, room) not in NEIGHBOURS
    }
    assert not wrong, f"{own} (floor {FLOORS[own]}) may not import {wrong}"


def test_only_the_doors_know_flask(module: Path) -> None:
    names = {name for name in imports(module) if name.split(".")[0] in FLASK}
    if name_of(module) == "mailer/storage/database.py":
        names -= STORAGE_MAY_KNOW
    assert not names or room_of(module) in KNOW_FLASK


def test_no_module_or_function_outgrows_its_ceiling(module: Path) -> None:
    source = module.read_text()
    assert source.count("\n") <= MODULE_CEILING, "it is usually two ideas"
    too_long = {
        node.name: length
        for node in ast.walk(ast.parse(source))
        if isinstance(node, Function)
        and (length := (node.end_lineno or 0) - node.lineno + 1) > FUNCTION_CEILING
    }
    assert not too_long, "it is usually two ideas"


@pytest.mark.parametrize("path", PYTHON, ids=name_of)
def test_every_module_begins_with_a_sentence(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
    first = docstring.split("\n\n")[0]
    assert first.endswith((".", ":")), f"{name_of(path)} should say in a sentence what it is"


def test_everything_public_is_explained(module: Path) -> None:
    definitions = public_definitions(ast.parse(module.read_text()).body)
    assert [one.name for one in definitions if not ast.get_docstring(one)] == []


@pytest.mark.parametrize("path", PYTHON, ids=name_of)
def test_every_module_has_a_telling_name(path: Path) -> None:
    parts = {part.removesuffix(".py") for part in path.relative_to(ROOT).parts}
    assert not parts & FORBIDDEN_NAMES


def test_no_file_names_a_place_that_others_do_not_have() -> None:
    places = (b"../shared", b"/work/", b"/tmp/")
    found = {
        f"{name_of(path)}: {place.decode()}"
        for path in project_files()
        if path.relative_to(ROOT).parts[0] != "tests"
        for place in places
        if place in path.read_bytes()
    }
    assert not found
