"""Everything that is wrong with a call is a problem (RFC 9457) that says what."""

from __future__ import annotations

import base64
import io
import json
import re

import pytest

from mailer.api.releases import LARGEST_RELEASE
from tests.api.problems import problem
from tests.support.press_room import PressRoom
from tests.support.publishing_system import RELEASES
from tests.support.releases import RELEASE, release

GUARDED = [
    ("POST", RELEASES),
    ("POST", f"{RELEASES}/preview"),
    ("GET", f"{RELEASES}/1"),
    ("GET", f"{RELEASES}/1/receipt"),
    ("GET", f"{RELEASES}/1/recipients"),
    ("POST", f"{RELEASES}/1/stop"),
    ("POST", f"{RELEASES}/1/resume"),
]
PLAIN = json.dumps(RELEASE, ensure_ascii=False)


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_without_a_key_nothing_is_told(shared_room: PressRoom, method: str, path: str) -> None:
    answer = shared_room.call(method, path, None)
    problem(answer, 401)
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer nobody",
        "Bearer \xe6\xf8\xe5",
        "Basic " + base64.b64encode(b"kari:secret").decode(),
        "Token {key}",
        "{key}",
        "Bearer {key}x",
        "Bearer x {key}",
    ],
)
def test_what_is_no_key_of_ours_opens_nothing(shared_room: PressRoom, authorization: str) -> None:
    header = {"Authorization": authorization.format(key=shared_room.key)}
    problem(shared_room.call("POST", RELEASES, None, headers=header, json=RELEASE), 401)


def test_bearer_is_written_in_any_case(shared_room: PressRoom) -> None:
    header = {"Authorization": f"bearer {shared_room.key}"}
    problem(shared_room.call("GET", f"{RELEASES}/4711", None, headers=header), 404)


@pytest.mark.parametrize(
    ("method", "path"), [(method, path) for method, path in GUARDED if method == "POST"]
)
def test_a_key_for_reading_may_not_act(shared_room: PressRoom, method: str, path: str) -> None:
    problem(shared_room.call(method, path, shared_room.add_key("read"), json=RELEASE), 403)


def test_a_key_for_reading_reads(shared_room: PressRoom) -> None:
    problem(shared_room.call("GET", f"{RELEASES}/4711", shared_room.add_key("read")), 404)


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1",
        "/api/v1/",
        "/api/v2/releases",
        f"{RELEASES}/",
        f"{RELEASES}/a",
        f"{RELEASES}/-1",
        f"{RELEASES}/1/nothing",
        "/api/\N{SNOWMAN}",
        "/api/%00",
    ],
)
def test_an_unknown_path_is_not_found(shared_room: PressRoom, path: str) -> None:
    problem(shared_room.call("GET", path), 404)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", RELEASES, "POST"),
        ("PUT", RELEASES, "POST"),
        ("DELETE", f"{RELEASES}/1", "GET"),
        ("GET", f"{RELEASES}/1/stop", "POST"),
        ("POST", f"{RELEASES}/1/receipt", "GET"),
    ],
)
def test_a_wrong_method_names_the_right_one(
    shared_room: PressRoom, method: str, path: str, allowed: str
) -> None:
    answer = shared_room.call(method, path)
    problem(answer, 405)
    assert allowed in answer.headers["Allow"]


@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "text/json", "application/x-www-form-urlencoded", "multipart/form-data"],
)
def test_a_release_comes_as_json(shared_room: PressRoom, content_type: str) -> None:
    problem(shared_room.post_body(PLAIN.encode(), content_type), 415)


def test_a_release_may_say_that_it_is_utf_8(shared_room: PressRoom) -> None:
    answer = shared_room.post_body(PLAIN.encode(), "application/json; charset=utf-8")
    assert answer.status_code == 202


def test_a_release_too_large_is_refused(shared_room: PressRoom) -> None:
    problem(shared_room.post_body(b" " * (LARGEST_RELEASE + 1)), 413)


def test_a_release_too_large_of_unknown_length_is_refused_too(shared_room: PressRoom) -> None:
    answer = shared_room.call(
        "POST",
        RELEASES,
        input_stream=io.BytesIO(b" " * (LARGEST_RELEASE + 1)),
        content_type="application/json",
        environ_overrides={"wsgi.input_terminated": True},
    )
    problem(answer, 413)


def test_a_release_of_unknown_length_is_accepted(shared_room: PressRoom) -> None:
    answer = shared_room.call(
        "POST",
        RELEASES,
        input_stream=io.BytesIO(json.dumps(release(reference="in-pieces")).encode()),
        content_type="application/json",
        environ_overrides={"wsgi.input_terminated": True},
    )
    assert answer.status_code == 202


BROKEN = {
    "nothing": b"",
    "white space": b"  \n",
    "half an object": b'{"title": ',
    "two objects": b"{}{}",
    "a trailing comma": b'{"title": "a",}',
    "single quotes": b"{'title': 'a'}",
    "a comment": b"{} // a",
    "not a number": b'{"hold_minutes": NaN}',
    "infinity": b'{"hold_minutes": -Infinity}',
    "a raw control character": b'{"title": "a\x00b"}',
    "a raw line break": b'{"title": "a\nb"}',
    "deep nesting": b"[" * 100_000,
    "deep and complete nesting": b'{"title": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "a number of ten thousand digits": b'{"hold_minutes": ' + b"1" * 10_000 + b"}",
    "utf-16": PLAIN.encode("utf-16"),
    "utf-16 without its mark": PLAIN.encode("utf-16-le"),
    "utf-32": PLAIN.encode("utf-32"),
    "latin-1": PLAIN.replace("«", "").encode("latin-1", "ignore"),
    "half a character": b'{"title": "\xc3"}',
    "a surrogate in utf-8": b'{"title": "\xed\xa0\x80"}',
    "an overlong NUL": b'{"title": "\xc0\x80"}',
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_not_json_in_utf_8_is_refused(shared_room: PressRoom, kind: str) -> None:
    problem(shared_room.post_body(BROKEN[kind]), 400)


@pytest.mark.parametrize("body", [b"null", b"[]", b'"release"', b"1", b"true", b"1e999"])
def test_json_that_is_no_object_is_no_release(shared_room: PressRoom, body: bytes) -> None:
    problem(shared_room.post_body(body), 422)


def test_a_byte_order_mark_is_answered(shared_room: PressRoom) -> None:
    """A JSON text must not begin with one, and a reader may ignore it (RFC 8259)."""
    assert shared_room.post_body(b"\xef\xbb\xbf" + PLAIN.encode()).status_code in (202, 400)


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"title": ""}, ["title"]),
        ({"title": "a\nb"}, ["title"]),
        ({"title": "x" * 256}, ["title"]),
        ({"title": "bl\ud800"}, ["title"]),
        ({"image": {"url": "a.jpg"}}, ["image.alt", "image.url"]),
        (
            {"contacts": [{"name": "Ada"}, {"email": "ada"}]},
            ["contacts.1.email", "contacts.1.name"],
        ),
        ({"colour": "blue", "notify": "no"}, ["colour", "notify"]),
        ({"hold_minutes": 10**300}, ["hold_minutes"]),
        ({"hold_minutes": 1e300}, ["hold_minutes"]),
        ({"published_at": "2026-11-13"}, ["published_at"]),
    ],
)
def test_what_is_wrong_with_a_release_is_said_field_by_field(
    shared_room: PressRoom, changes: dict[str, object], fields: list[str]
) -> None:
    told = problem(shared_room.post_release(**changes), 422)
    assert sorted(one["field"] for one in told["errors"]) == fields
    assert all(one["detail"].endswith(".") for one in told["errors"])


def test_what_is_refused_in_the_text_is_listed(shared_room: PressRoom) -> None:
    html = "<form></form><script>a()</script><p onclick=b()><a href='javascript:c()'>d</a></p>"
    told = problem(shared_room.post_release(body_html=html), 422)
    [one] = told["errors"]
    assert one["field"] == "body_html"
    for found in ("<form>", "<script>", "onclick=", "javascript:c()"):
        assert found in one["detail"]


@pytest.mark.parametrize("path", ["", "/preview"])
def test_html_that_would_cost_a_parser_too_much_is_refused_and_the_process_goes_on(
    shared_room: PressRoom, path: str
) -> None:
    body = release(body_html="<b>" * 12_000 + "x")
    told = problem(shared_room.call("POST", f"{RELEASES}{path}", json=body), 422)
    assert [one["field"] for one in told["errors"]] == ["body_html"]
    assert "elements in one another" in told["errors"][0]["detail"]


def test_of_a_key_given_twice_the_last_counts(shared_room: PressRoom) -> None:
    """As every JSON reader does that does not refuse it; a bad one is not hidden by it."""
    body = re.sub(r"^\{", '{"title": "Først", ', json.dumps(release(title="")))
    told = problem(shared_room.post_body(body.encode()), 422)
    assert [one["field"] for one in told["errors"]] == ["title"]


def test_a_problem_does_not_repeat_what_was_sent(shared_room: PressRoom) -> None:
    answer = shared_room.post_release(contacts=[{"name": "Ada", "email": "ada@hemmelig"}])
    problem(answer, 422)
    assert "hemmelig" not in answer.text
