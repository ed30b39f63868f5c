"""The promises of the whole code, checked by reading its source.

Layers, ceilings, docstrings, names, and what no file may mention; and what other systems rely on:
every route is guarded or deliberately open, job names resolve, every setting is documented, every
letter is complete, the migrations match the models.
"""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import get_args

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

from mailer.app import create_app
from mailer.config import Settings
from mailer.domain.outbox import LetterKind
from mailer.storage.models import Base, ReleaseKind
from mailer.storage.queues import JOBS
from tests.service import contract

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "mailer"
MODULES = sorted(PACKAGE.rglob("*.py"))
PYTHON = [
    *MODULES,
    *sorted((ROOT / "migrations").rglob("*.py")),
    *sorted((ROOT / "tests").rglob("*.py")),
]

LAYERS = {
    "__main__": 6,
    "cli": 5,
    "demo": 5,
    "app": 4,
    "server": 4,
    "web": 3,
    "api": 3,
    "console": 3,
    "fanout": 3,
    "domain": 2,
    "mail": 1,
    "storage": 1,
    "config": 0,
    "relay": 0,
    "errors": 0,
}
# Single modules of one layer that may be imported: a wrong setting is an error, a setting describes
# the relay, and the demo is a command.
NEIGHBOURS = {("config", "errors"), ("config", "relay"), ("cli", "demo")}

KNOW_FLASK = {"web", "api", "console", "app", "cli", "demo"}
FLASK = {"flask", "flask_sqlalchemy", "werkzeug"}
# The one module below the entry points that needs the application: it holds the engine.
STORAGE_MAY_KNOW = {"flask.current_app", "flask_sqlalchemy.SQLAlchemy"}

# Visitors and recipients have no account, and monitoring asks for health.
OPEN = {"health.alive", "health.ready"} | {
    f"web.{view}"
    for view in (
        *(
            "asset",
            "home",
            "colours",
            "press_room",
            "redirect_to_slash",
            "redirect_to_room",
            "follow",
            "release",
        ),
        *("embed", "follow_embedded", "embed_code", "feed", "privacy"),
        *("robots", "sitemap", "sitemap_part"),
        *("confirm", "unsubscribe", "one_click", "manage", "move", "why", "your_data"),
    )
}

MODULE_CEILING = 300
FOLDER_CEILING = 16
FUNCTION_CEILING = 40
FORBIDDEN_NAMES = {"common", "helper", "helpers", "manager", "misc", "util", "utils"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def name_of(path: Path) -> str:
    """Name a file as it stands in the checkout, which is also its name as a test case."""
    return str(path.relative_to(ROOT))


def package_of(path: Path) -> str:
    """Name the package of a module, or the module itself at the top level."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@cache
def tree(path: Path) -> ast.Module:
    """Parse a file once."""
    return ast.parse(path.read_text())


def imports(path: Path) -> Iterator[str]:
    """List what a module imports anywhere, also inside functions, by full dotted names."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(tree(path)):
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


def test_every_package_has_a_layer() -> None:
    assert {package_of(path) for path in MODULES} - {"__init__"} <= set(LAYERS)


def test_the_map_imports_nothing() -> None:
    assert not list(imports(PACKAGE / "__init__.py"))


def test_imports_only_go_down() -> None:
    wrong = {
        (name_of(path), package)
        for path in MODULES
        for own in [package_of(path)]
        for package in {name.split(".")[1] for name in imports(path) if name.startswith("mailer.")}
        if package in LAYERS
        and package != own
        and LAYERS[own] <= LAYERS[package]
        and (own, package) not in NEIGHBOURS
    }
    assert not wrong


def test_only_entry_points_know_flask() -> None:
    wrong = {
        (name_of(path), name)
        for path in MODULES
        for name in imports(path)
        if name.split(".")[0] in FLASK
        and package_of(path) not in KNOW_FLASK
        and not (name_of(path) == "mailer/storage/database.py" and name in STORAGE_MAY_KNOW)
    }
    assert not wrong


def test_no_module_outgrows_its_ceiling() -> None:
    lengths = {name_of(path): path.read_text().count("\n") for path in MODULES}
    too_long = {name: length for name, length in lengths.items() if length > MODULE_CEILING}
    assert not too_long, "it is usually two ideas"


def test_no_function_outgrows_its_ceiling() -> None:
    too_long = {
        (name_of(path), node.name): length
        for path in MODULES
        for node in ast.walk(tree(path))
        if isinstance(node, Function)
        and (length := (node.end_lineno or 0) - node.lineno + 1) > FUNCTION_CEILING
    }
    assert not too_long, "it is usually two ideas"


def test_no_folder_outgrows_its_ceiling() -> None:
    sizes = Counter(name_of(path.parent) for path in MODULES)
    assert max(sizes.values()) <= FOLDER_CEILING, f"{sizes.most_common(1)} is usually two packages"


def test_every_module_begins_with_a_sentence() -> None:
    wrong = [
        name_of(path)
        for path in PYTHON
        if not (ast.get_docstring(tree(path)) or "").split("\n\n")[0].endswith((".", ":"))
    ]
    assert not wrong, "these should say in a sentence what they are"


def test_everything_public_is_explained() -> None:
    unexplained = [
        (name_of(path), one.name)
        for path in MODULES
        for one in public_definitions(tree(path).body)
        if not ast.get_docstring(one)
    ]
    assert not unexplained


def test_every_module_has_a_telling_name() -> None:
    names = [name_of(path) for path in PYTHON]
    assert not [one for one in names if set(re.split(r"[/.]", one)) & FORBIDDEN_NAMES]


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


def test_job_names_are_the_contract_with_workers_of_the_version_before() -> None:
    assert JOBS == {
        "letters": "mailer.fanout.jobs.drain_letters",
        "releases": "mailer.fanout.jobs.drain_releases",
    }


def test_every_setting_has_a_name_and_a_sentence() -> None:
    for setting in Settings.model_fields.values():
        assert re.fullmatch(r"(MAILER_)?[A-Z0-9_]+", setting.alias or "")
        assert re.fullmatch(r"[^|]+\.", setting.description or ""), setting.alias


def test_every_setting_is_documented_as_it_is() -> None:
    """docs/settings.md has one row for each: its name, its default, its description."""
    page = (ROOT / "docs" / "settings.md").read_text()
    rows = re.findall(r"^\| `([A-Z0-9_]+)` \| (.+?) \| (.+) \|$", page, re.MULTILINE)
    assert rows == [
        (
            setting.alias,
            "required" if setting.is_required() else str(setting.default),
            " ".join((setting.description or "").split()),
        )
        for setting in Settings.model_fields.values()
    ]


def test_every_route_is_guarded_or_deliberately_open(tmp_path: Path) -> None:
    variables = contract(
        database_url=f"sqlite:///{tmp_path}/none", redis_url="", smtp_url="smtp://127.0.0.1"
    )
    app = create_app(Settings.from_environment(variables))
    rules = list(app.url_map.iter_rules())
    assert {rule.endpoint for rule in rules} >= OPEN, "what is no more is not open"
    for rule in rules:
        path = re.sub(r"<[^>]+>", "1", rule.rule)
        for method in (rule.methods or set()) - {"OPTIONS"} if rule.endpoint not in OPEN else ():
            answer = app.test_client().open(path, method=method)
            assert answer.status_code == 401, f"{method} {rule.rule} is open"


def test_every_kind_of_letter_has_its_folder() -> None:
    folders = {path.name for path in (ROOT / "templates" / "emails").iterdir() if path.is_dir()}
    assert folders == {*get_args(ReleaseKind), *get_args(LetterKind)}


def test_every_letter_is_complete() -> None:
    for folder in (ROOT / "templates" / "emails").iterdir():
        for name in ("subject.txt", "body.txt", "body.html") if folder.is_dir() else ():
            assert (folder / name).read_text().strip(), f"{folder.name} lacks its {name}"


def test_the_migrations_match_the_models(database_url: str) -> None:
    engine = create_engine(database_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, Base.metadata) == []
    engine.dispose()
