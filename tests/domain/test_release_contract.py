"""docs/releases.md says of a release what the code says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

from mailer.domain.releases.release_body import ReleaseBody
from mailer.mail.html.sanitize import KEPT

PAGE = (Path(__file__).parents[2] / "docs" / "releases.md").read_text()
SAME_AS = {"images": "image"}
"""Described once: a picture is a picture."""


def fields(model: type[BaseModel], before: str = "") -> Iterator[tuple[str, bool]]:
    """List the fields of a model and of its parts, and whether each must be there."""
    for name, field in model.model_fields.items():
        yield before + name, field.is_required()
        if name not in SAME_AS and (part := _part(field.annotation)):
            yield from fields(part, f"{name}.")


def _part(annotation: Any) -> type[BaseModel] | None:
    """Find the model in an annotation such as `tuple[Contact, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_part, get_args(annotation))), None)


def test_every_field_is_described() -> None:
    rows = re.findall(r"^\| `([a-z_.]+)` \| (yes|no) \| .+ \|$", PAGE, re.MULTILINE)
    assert sorted((name, must == "yes") for name, must in rows) == sorted(fields(ReleaseBody))


def test_the_example_is_a_release_with_everything_in_it() -> None:
    example = json.loads(PAGE.partition("```json\n")[2].partition("```")[0])
    body = ReleaseBody.read(example)
    assert set(example) == set(ReleaseBody.model_fields) - {"note", "again"}, "first, and once"
    assert '<a href="https://film.example/brygga">Film: de første over brygga</a>' in body.body_html


def test_every_element_is_listed_with_its_attributes() -> None:
    table = PAGE.partition("| element | with |")[2].partition("\n\n")[0]
    rows = [row.split("|")[1:3] for row in table.splitlines()[2:]]
    listed = {tag for tags, _ in rows for tag in re.findall(r"`([a-z0-9]+)`", tags)}
    assert listed == set(KEPT)
    for tags, attributes in rows:
        known = set().union(*(KEPT[tag] for tag in re.findall(r"`([a-z0-9]+)`", tags)))
        assert set(re.findall(r"`([a-z]+)`", attributes)) == known
