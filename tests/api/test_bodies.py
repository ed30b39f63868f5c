"""Two thousand made bodies: whatever is sent, it is answered, and never by a mistake of ours."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.press_room import PressRoom
from tests.support.releases import RELEASE

ANSWERS = {202, 400, 409, 413, 415, 422}

text = st.text(st.characters(), max_size=30)  # surrogates and control characters too
numbers = st.one_of(
    st.integers(),
    st.floats(),
    st.sampled_from([2**31, 2**63, -(2**63) - 1, 10**300, 10**4_000, -0.0, 1e308]),
)
moments = st.one_of(
    st.datetimes().map(str),
    st.builds("{}T{}".format, st.dates(), st.sampled_from(["00:00:00Z", "24:00Z", "09:00+23:59"])),
    st.sampled_from(["0000-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59", "now", "1e400"]),
)
plain = st.one_of(st.none(), st.booleans(), numbers, text, moments)
values = st.recursive(
    plain,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(text, inner, max_size=3)),
    max_leaves=8,
)
markup = st.lists(
    st.one_of(
        text,
        st.sampled_from(
            ["<p>", "</p>", "<a href=", "'", ">", "<!--", "<![", "<!", "<?", "</", "&#"]
        ),
        st.sampled_from(
            ["<table>", "<td>", "<img src=", "javascript:", "&#x110000;", "]]>", "<svg>"]
        ),
    ),
    max_size=8,
).map("".join)


def places(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """List every place in a JSON value, from the outside in."""
    inner: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    return [path, *(place for key, one in inner for place in places(one, (*path, key)))]


OPTIONAL: list[tuple[str | int, ...]] = [("published_at",), ("hold_minutes",), ("notify",)]
PLACES = [*places(RELEASE)[1:], *OPTIONAL, ("unknown",)]
changes = st.lists(
    st.tuples(st.sampled_from(PLACES), st.one_of(values, text, markup, moments)),
    min_size=1,
    max_size=4,
)


def changed(wishes: list[tuple[tuple[str | int, ...], Any]]) -> dict[str, Any]:
    """Write the release with each of these places changed, the innermost first."""
    content = deepcopy(RELEASE)
    for path, value in sorted(wishes, key=lambda wish: -len(wish[0])):
        place: Any = content
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
    return content


def see(client: PressRoom, body: bytes) -> None:
    """Send it, and see that the answer is one of those the contract knows."""
    answer = client.post_body(body)
    assert answer.status_code in ANSWERS, answer.text
    told = answer.get_json()
    assert answer.status_code == 202 or (told["status"] == answer.status_code and told["detail"])


quickly = settings(
    max_examples=500,
    derandomize=False,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@settings(quickly)
@given(values.map(lambda value: json.dumps(value).encode()))
def test_any_json_is_answered(shared_room: PressRoom, body: bytes) -> None:
    see(shared_room, body)


@settings(quickly, max_examples=1_000)
@given(changes.map(changed).map(lambda content: json.dumps(content).encode()))
def test_a_release_with_anything_in_any_place_is_answered(
    shared_room: PressRoom, body: bytes
) -> None:
    see(shared_room, body)


@settings(quickly, max_examples=250)
@given(st.binary(max_size=40), st.integers(0, len(json.dumps(RELEASE))), st.integers(0, 40))
def test_a_release_with_any_bytes_in_it_is_answered(
    shared_room: PressRoom, noise: bytes, place: int, lost: int
) -> None:
    body = json.dumps(RELEASE).encode()
    see(shared_room, body[:place] + noise + body[place + lost :])


@settings(quickly, max_examples=250)
@given(markup)
def test_a_release_with_any_markup_is_answered(shared_room: PressRoom, html: str) -> None:
    see(shared_room, json.dumps({**RELEASE, "body_html": html}).encode())
