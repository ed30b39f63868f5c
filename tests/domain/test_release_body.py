"""The body of a release: what each field may hold, and when two bodies are the same."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from mailer.domain.releases.release_body import ReleaseBody
from mailer.errors import InvalidInput
from tests.support.releases import RELEASE, release

HUGE = 10**400


def with_value(path: str, value: Any) -> dict[str, Any]:
    """Put a value somewhere deep in the release, `contacts.0.name` for example."""
    content = deepcopy(RELEASE)
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    place: Any = content
    for parent in parents:
        place = place[parent]
    place[last] = value
    return content


def refusals(content: Any) -> dict[str, str]:
    with pytest.raises(InvalidInput) as refusal:
        ReleaseBody.read(content)
    return refusal.value.problems


REFUSED: dict[str, list[Any]] = {
    "reference": ["", " ", "blå", "-a", "a b", "a/b", "a\n", "a" * 201, None, 1, ["a"], HUGE],
    "language": ["", "norsk bokmål", "NB", "n", "nb_NO", "nb\n", "nb-" + "x" * 40, None, 1],
    "title": ["", "   ", "a\nb", "a\rb", "a\0b", "a\x1bb", "a\u2028b", "a\u202eb", "x" * 256],
    "lead": ["", "a\nb", "a\0b", "x" * 2_001, 1, {}],
    "body_html": ["", "  ", "<!-- -->", "a\0b", "a\x1bb", "\ud800", "<script>", None, ["<p>"]],
    "image": ["https://example.org/a.jpg", [], 1],
    "image.url": ["", "a.jpg", "//a", "ftp://a", "javascript:a", "http://", "https://a b", "https://[", "https://a:b/", None],  # noqa: E501
    "image.alt": ["", "\n", "a\nb", None],
    "image.width": [0, -1, 20_001, 1.5, "1200", True, HUGE],
    "image.height": [0, -1, 20_001, 1.5, "800", False],
    "image.caption": ["", "a\nb", 1],
    "image.credit": ["", "a\nb", "x" * 256],
    "image.size": [1],
    "images": ["https://example.org/a.jpg", {"url": "a"}, 1, [RELEASE["image"]] * 21],
    "images.0": ["https://example.org/a.jpg", None, []],
    "images.0.url": ["", "a.jpg", "javascript:a", None],
    "images.0.alt": ["", "a\nb", None],
    "source": ["Sørøya bærlag"],
    "source.text": ["", "a\nb", None],
    "source.url": ["", "javascript:a", "https://a\n.example", "https://a'b"],
    "keywords": ["bær", {"bær": 1}, 1, ["bær"] * 51],
    "keywords.0": ["", "a\nb", None, 1, "x" * 256],
    "contacts": ["Ada", [{"name": "Ada"}] * 21],
    "contacts.0": ["Ada", None, []],
    "contacts.0.name": ["", "a\nb", None],
    "contacts.0.title": ["", "a\nb"],
    "contacts.0.email": ["", "ada", "ada@example.org\nBcc: kari@example.org", "a@b.no, c@d.no"],
    "contacts.0.phone": ["", "a\nb", 4700000000],
    "documents": ["tall.pdf", [{"title": "a", "url": "https://a.no"}] * 51],
    "documents.0.title": ["", "a\nb", None],
    "documents.0.url": ["", "tall.pdf", "data:,a", None],
    "documents.0.size": [0, -1, 1.5, "1,2 MB", True, HUGE],
    "web_url": ["", "blabaer", "javascript:a", "https://", "x" * 2_001, 1],
    "published_at": ["", "i dag", "2026-11-13", "2026-11-13T09:00:00", "2026-02-30T09:00:00Z", "2026-11-13T25:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "1969-12-31T23:59:59Z", True, [], HUGE, float("inf")],  # noqa: E501
    "notify": ["nei", 0, 1, None, "false"],
    "hold_minutes": [-1, 1_441, 1.0, "10", True, HUGE],
    "surprise": [1, None],
}  # fmt: skip


@pytest.mark.parametrize(
    ("path", "value"),
    [
        pytest.param(path, value, id=f"{path}-{number}")
        for path, values in REFUSED.items()
        for number, value in enumerate(values)
    ],
)
def test_a_refusal_names_its_field_and_no_other(path: str, value: Any) -> None:
    assert list(refusals(with_value(path, value))) == [path]


@pytest.mark.parametrize("field", ["reference", "language", "title", "body_html"])
def test_a_missing_field_is_named(field: str) -> None:
    content = {name: value for name, value in RELEASE.items() if name != field}
    assert refusals(content) == {field: "This field is missing."}


def test_every_field_that_is_wrong_is_named_at_once() -> None:
    assert set(refusals(release(title="", image={}, colour="blue"))) == {
        "title",
        "image.url",
        "image.alt",
        "colour",
    }


@pytest.mark.parametrize("content", [None, [], "release", 1, True])
def test_what_is_not_an_object_is_no_release(content: Any) -> None:
    assert refusals(content) == {"": "Send one JSON object."}


@pytest.mark.parametrize("field", ["title", "lead", "body_html", "reference", "language"])
def test_half_a_character_is_refused_with_its_field(field: str) -> None:
    assert list(refusals(release(**{field: "bl\ud800"}))) == [field]


def test_a_field_name_with_half_a_character_is_refused() -> None:
    assert refusals(release(**{"\ud800": 1}))


@pytest.mark.parametrize("seconds", [0, 1_763_020_800, "1763020801", 0.5])
def test_a_time_is_written_out_and_no_count_of_seconds(seconds: object) -> None:
    assert list(refusals(release(published_at=seconds))) == ["published_at"]


@pytest.mark.parametrize("html", ["<p>a</p><![foo[ b", "<p>a</p><![ b"])
def test_a_broken_declaration_falls_away_like_a_comment(html: str) -> None:
    """Word writes such things, and a browser reads over them."""
    assert ReleaseBody.read(release(body_html=html)).body_html.startswith("<p>a</p>")


@pytest.mark.parametrize("field", ["title", "lead"])
def test_what_looks_like_a_template_stays_as_it_is(field: str) -> None:
    body = ReleaseBody.read(release(**{field: "{{ config }} {% raw %}"}))
    assert getattr(body, field) == "{{ config }} {% raw %}"


def test_what_looks_like_a_template_stays_in_the_text_too() -> None:
    body = ReleaseBody.read(release(body_html="<p>{{ config }} {% raw %}</p>"))
    assert body.body_html == "<p>{{ config }} {% raw %}</p>"


def test_what_is_refused_in_the_text_is_listed() -> None:
    problems = refusals(release(body_html="<form><p onclick=a()><a href='javascript:b'>c</a>"))
    for found in ("<form>", "onclick=", "javascript:b"):
        assert found in problems["body_html"]


@pytest.mark.parametrize(
    "address",
    ["https://oya.example/?id=1&side=2", "http://oya.example:8080/a/b;c#d", "https://ø.no/"],
)
def test_a_web_address_stays_as_it_is(address: str) -> None:
    assert ReleaseBody.read(release(web_url=address)).web_url == address


def test_a_title_may_have_255_characters() -> None:
    assert ReleaseBody.read(release(title="å" * 255)).title == "å" * 255


def digest(**changes: Any) -> str:
    return ReleaseBody.read(release(**changes)).sha256()


def test_the_same_content_in_another_order_is_the_same() -> None:
    turned = {name: RELEASE[name] for name in reversed(RELEASE)}
    turned["image"] = dict(reversed(RELEASE["image"].items()))
    assert ReleaseBody.read(turned).sha256() == digest()


@pytest.mark.parametrize(
    "moment", ["2026-11-13T08:00:00Z", "2026-11-12T22:00:00-10:00", "2026-11-13T08:00:00.000+00:00"]
)
def test_the_same_moment_in_another_zone_is_the_same(moment: str) -> None:
    assert digest(published_at=moment) == digest(published_at="2026-11-13T09:00:00+01:00")


def test_what_means_the_same_when_left_out_is_the_same() -> None:
    assert digest(notify=True, hold_minutes=None, published_at=None) == digest()


def test_a_new_field_changes_no_digest_that_is_stored() -> None:
    """What was published before an upgrade is compared with what comes after it."""
    plain = {"reference": "a", "language": "nb", "title": "A", "body_html": "<p>A</p>"}
    assert ReleaseBody.read(plain).sha256() == (
        "99d7151a2db231061497869330e5b900541d25e9891968c0120156d2f8fa94ef"
    )


def test_what_no_mail_client_shows_is_published_as_a_link() -> None:
    body = ReleaseBody.read(release(body_html="<iframe src='https://film.example/'></iframe>"))
    assert body.body_html == '<p><a href="https://film.example/">https://film.example/</a></p>'


@pytest.mark.parametrize("field", [name for name in RELEASE if name not in ("image", "source")])
def test_any_other_content_is_other_content(field: str) -> None:
    others: dict[str, Any] = {"images": [], "keywords": [], "contacts": [], "documents": []}
    others |= {"language": "nn", "web_url": "https://example.org/b", "body_html": "<p>B</p>"}
    assert digest(**{field: others.get(field, "b")}) != digest()


@pytest.mark.parametrize(
    "field", ["image.alt", "images.0.credit", "source.text", "contacts.0.name"]
)
def test_other_content_deep_inside_is_other_content(field: str) -> None:
    assert ReleaseBody.read(with_value(field, "Annet")).sha256() != digest()


@pytest.mark.parametrize(
    "change", [{"notify": False}, {"hold_minutes": 5}, {"published_at": "2026-11-13T08:00:00Z"}]
)
def test_when_and_to_whom_is_content_too(change: dict[str, Any]) -> None:
    assert digest(**change) != digest()
