"""What every response carries, and what visitors read when something is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NoReturn

import pytest
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from werkzeug.exceptions import TooManyRequests

from mailer.domain import publishers
from mailer.domain.followers import links
from mailer.domain.tokens import Purpose
from mailer.errors import InvalidInput
from mailer.mail.locales import available
from mailer.web import follow, request_checks
from tests.conftest import Databases
from tests.support.press_room import ADA, DRAFT, NAME, SLUG, PressRoom, open_press_room
from tests.web.pages import FOLLOW, ROOM, text

POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'"
)


@pytest.fixture
def room(databases: Databases) -> Iterator[PressRoom]:
    """One press room; nothing here depends on the kind of database."""
    with databases.fresh("sqlite") as url, open_press_room(url) as room:
        yield room


@pytest.mark.parametrize(
    "path", [ROOM, "/nobody/", "/static/site.css", "/healthz", "/api/v1/releases", "/api/nix", "/"]
)
def test_every_response_is_protected(room: PressRoom, path: str) -> None:
    headers = room.client.get(path).headers
    assert headers["Content-Security-Policy"] == POLICY
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "strict-origin-when-cross-origin"
    assert "Strict-Transport-Security" not in headers
    assert "Set-Cookie" not in headers


@pytest.mark.parametrize(
    ("page_name", "purpose"),
    [
        ("confirm", "confirm"),
        ("unsubscribe", "unsubscribe"),
        ("one-click", "one-click"),
        ("manage", "unsubscribe"),
        ("your-data", "access"),
    ],
)
def test_nothing_passes_a_token_on(room: PressRoom, page_name: str, purpose: Purpose) -> None:
    good = room.tokens.token(purpose, room.sign_up())
    for path in (
        f"/{page_name}/{good}",
        f"/{page_name}/wrong",
        f"/{page_name}/{good}/",
        f"/{page_name}//{good}",
    ):
        headers = room.client.get(path).headers
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Robots-Tag"] == "noindex"


def test_browsers_are_told_to_stay_with_https(databases: Databases) -> None:
    with (
        databases.fresh("sqlite") as url,
        open_press_room(url, BASE_URL="https://follow.example.org") as room,
    ):
        answer = room.client.get(ROOM, headers={"Host": "follow.example.org"})
        assert answer.status_code == 200
        assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:80", "", "a b", "localhost.evil"),
        *("e" * 64, ".", "[", "[::1", "e..e"),
    ],
)
@pytest.mark.parametrize("path", [ROOM, ROOM.rstrip("/"), "/confirm//x", "/static/site.css"])
def test_a_forged_host_gets_nothing(room: PressRoom, host: str, path: str) -> None:
    answer = room.client.get(path, headers={"Host": host})
    assert answer.status_code == 400
    assert "Location" not in answer.headers
    assert "evil" not in answer.text


def test_a_foreign_host_is_explained_in_the_log_now_and_then(
    room: PressRoom, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(request_checks, "_told", {})
    for host in ("web:8000", "b" * 10_000, "web:8000"):
        room.client.get(ROOM, headers={"Host": host})
    [told] = caplog.messages
    assert "'web'" in told
    assert "let it pass on the Host" in told


@pytest.mark.parametrize("host", ["old.example.org", "OLD.example.org:443", "older.example.org."])
def test_a_host_that_base_url_once_had_goes_on_answering(databases: Databases, host: str) -> None:
    former = "old.example.org, older.example.org"
    with (
        databases.fresh("sqlite") as url,
        open_press_room(
            url, BASE_URL="https://new.example.org", MAILER_FORMER_HOSTS=former
        ) as room,
    ):
        one = room.confirmed()
        path = f"/one-click/{room.tokens.token('one-click', one)}"
        assert room.client.get(path, headers={"Host": host}).status_code == 200
        answer = room.client.post(path, headers={"Host": host})
        assert (answer.status_code, "Location" in answer.headers) == (200, False)
        assert room.view(one) == (True, True)


def test_machines_may_ask_for_our_health_by_any_name(room: PressRoom) -> None:
    assert room.client.get("/healthz", headers={"Host": "10.0.0.7:8000"}).status_code == 200


def test_the_stylesheet_keeps_as_long_as_its_version(room: PressRoom) -> None:
    found = re.search(r'href="(/static/site\.css\?v=\w+)"', text(room.client.get(ROOM)))
    assert found is not None
    kept = room.client.get(found[1])
    assert kept.mimetype == "text/css"
    assert kept.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert room.client.get("/static/site.css?v=old").headers["Cache-Control"] == "no-cache"
    etag = kept.headers["ETag"]
    assert room.client.get(found[1], headers={"If-None-Match": etag}).status_code == 304
    assert room.client.get("/static/pages.py").status_code == 404


def test_the_stylesheet_asks_for_nothing_else(room: PressRoom) -> None:
    assert "url(" not in room.client.get("/static/site.css").text


def breaking(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(_slug: str) -> NoReturn:
        raise error

    monkeypatch.setattr(publishers, "find", fail)


def away() -> Exception:
    return OperationalError("SELECT secret", {}, Exception("refused"))


@pytest.mark.parametrize(
    ("error", "status", "sentence"),
    [
        (away, 503, "Ingenting gikk tapt. Prøv igjen om et minutt."),
        (lambda: PoolTimeoutError("full"), 503, "Ingenting gikk tapt."),
        (lambda: RuntimeError("secret"), 500, "Noe gikk galt hos oss"),
        (lambda: TooManyRequests(retry_after=60), 429, "For mange forsøk"),
    ],
)
def test_what_goes_wrong_is_said_without_its_insides(
    room: PressRoom,
    monkeypatch: pytest.MonkeyPatch,
    error: Callable[[], Exception],
    status: int,
    sentence: str,
) -> None:
    breaking(monkeypatch, error())
    answer = room.client.post(FOLLOW, headers={"Accept-Language": "nb-NO,nb;q=0.9,en;q=0.8"})
    assert answer.status_code == status
    assert sentence in text(answer)
    assert "secret" not in text(answer)
    assert "Traceback" not in text(answer)
    assert ("Retry-After" in answer.headers) == (status in (429, 503))
    assert answer.headers["Content-Security-Policy"] == POLICY
    assert answer.headers["Cache-Control"] == "no-store"


def test_a_mistake_of_ours_is_noted_without_the_token(
    room: PressRoom, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> NoReturn:
        raise RuntimeError

    monkeypatch.setattr(links, "opened", fail)
    token = room.tokens.token("confirm", room.sign_up())
    assert room.client.post(f"/confirm/{token}").status_code == 500
    assert "web.confirm" in caplog.text
    assert "RuntimeError" in caplog.text
    assert token not in caplog.text


@pytest.mark.parametrize("state", ["sign_up", "confirmed", "ended"])
def test_no_get_changes_anything(room: PressRoom, state: str) -> None:
    one: int = getattr(room, state)()
    purposes: dict[str, Purpose] = {
        "web.confirm": "confirm",
        "web.unsubscribe": "unsubscribe",
        "web.one_click": "one-click",
        "web.manage": "unsubscribe",
        "web.why": "unsubscribe",
        "web.your_data": "access",
    }
    move = room.ask_to_move(room.confirmed(ADA), "ada@new.example.org")
    release_id = room.publish()
    before = room.everything()
    for rule in room.app.url_map.iter_rules():
        if not rule.endpoint.startswith("web.") or "GET" not in (rule.methods or ()):
            continue
        path = rule.rule.replace("<slug>", SLUG).replace("<int:release_id>", str(release_id))
        path = path.replace("<name>", "site.css")
        path = path.replace("<int:number>", "1")
        if "<path:token>" in path:
            purpose = purposes.get(rule.endpoint)
            token = room.tokens.token(purpose, one) if purpose else move
            path = path.replace("<path:token>", token)
        answer = room.client.get(path)
        assert answer.status_code < 400
        assert room.client.head(path).status_code < 400
        if "<path:token>" in rule.rule:
            assert answer.headers["Referrer-Policy"] == "no-referrer", path
            assert answer.headers["Cache-Control"] == "no-store", path
    assert room.everything() == before


def test_no_press_room_takes_the_place_of_a_page(room: PressRoom) -> None:
    ours = {rule.rule.split("/")[1] for rule in room.app.url_map.iter_rules()}
    for first in ours - {"<slug>"} | {"privacy", "robots", "sitemap"}:
        with room.app.app_context(), pytest.raises(InvalidInput, match="cannot be used"):
            publishers.add(replace(DRAFT, slug=first))


def test_a_wrong_method_names_the_right_ones(room: PressRoom) -> None:
    answer = room.client.delete(ROOM)
    assert answer.status_code == 405
    assert "GET" in answer.headers["Allow"]


@pytest.mark.parametrize(("path", "status"), [("/api/v1/nix", 404), ("/api/v1/releases", 405)])
def test_the_publishing_system_is_answered_in_its_own_form(
    room: PressRoom, path: str, status: int
) -> None:
    answer = room.client.get(path)
    assert answer.status_code == status
    assert answer.mimetype == "application/problem+json"
    assert answer.get_json()["status"] == status


@pytest.mark.parametrize(
    ("wishes", "language"),
    [
        ("nn", "nn"),
        ("no", "nb"),
        ("nb-NO", "nb"),
        ("fr, nn;q=0.5", "nn"),
        ("en, nb;q=0.5", "en"),
        ("fr", "en"),
        ("", "en"),
        (";;;,\x7f", "en"),
    ],
)
def test_a_page_about_nothing_speaks_as_the_browser_wishes(
    room: PressRoom, wishes: str, language: str
) -> None:
    answer = room.client.get("/nothing/at/all", headers={"Accept-Language": wishes})
    assert f'<html lang="{language}"' in text(answer)


@pytest.mark.parametrize("locale", available())
@pytest.mark.parametrize("reason", ["400", "404", "405", "413", "418", "429", "500", "503"])
def test_every_mistake_has_a_page_in_every_language(
    room: PressRoom, monkeypatch: pytest.MonkeyPatch, reason: str, locale: str
) -> None:
    with room.app.test_request_context(f"/?locale={locale}"):
        page = room.app.jinja_env.get_template("web/error.html").render(
            reason=reason, locale=locale, publisher=None
        )
    assert re.search(r"<h1>\S.*</h1>\s*<p>\S.*</p>", page)
    assert f"<title>{re.findall('<h1>(.*)</h1>', page)[0]}</title>" in page


def test_a_page_that_is_not_there_keeps_its_press_room(room: PressRoom) -> None:
    answer = room.client.get(f"{ROOM}4711")
    assert answer.status_code == 404
    assert f'<p class="room"><a href="{ROOM}">{NAME}</a></p>' in text(answer)


def test_who_is_asked_to_wait_keeps_what_was_typed(
    room: PressRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> NoReturn:
        raise TooManyRequests

    monkeypatch.setattr(follow, "count_signup", full)
    answer = room.send_follow_form("kari@example.org")
    assert answer.status_code == 429
    assert f">{NAME}</a>" in text(answer)
    assert 'type="email" value="kari@example.org"' in text(answer)
