"""Whatever a release does to what composes it, the API answers, and nothing else is harmed."""

from __future__ import annotations

import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text

from mailer.domain.releases import composition
from mailer.mail import composer
from mailer.mail.composer import Composer
from mailer.storage.database import db
from mailer.storage.models import ComposedLetter, Release
from tests.api.problems import problem
from tests.processes import eventually
from tests.support.composers import sleeping
from tests.support.press_room import PressRoom
from tests.support.publishing_system import RELEASES
from tests.support.releases import release

DEADLY = ("abort", "loop", "memory", "exception")


def own_programs() -> set[str]:
    """Return the processes that compose for this one."""
    found = subprocess.run(
        ["pgrep", "-P", str(os.getpid()), "-f", "mailer.mail.compose"],
        capture_output=True,
        text=True,
        check=False,
    )
    return set(found.stdout.split())


@pytest.fixture
def database_kind(request: pytest.FixtureRequest) -> str:
    """Both kinds, unless a test names one."""
    return str(getattr(request, "param", "sqlite"))


@pytest.mark.parametrize("path", ["", "/preview"])
@pytest.mark.parametrize("word", [*DEADLY, *(f"late-{one}" for one in DEADLY)])
def test_a_release_that_harms_what_composes_it_is_refused_and_others_go_on(
    room: PressRoom, fragile: Composer, word: str, path: str
) -> None:
    body = release(reference="poison", body_html=f"<p>{word}</p>")
    answer = room.call("POST", f"{RELEASES}{path}", json=body)
    # On a machine that is busy enough, the clock ends a loop before its processor time does.
    if answer.status_code == 503 and "loop" in word:
        assert answer.headers["Retry-After"] == "5"
    else:
        told = problem(answer, 422)
        assert [one["field"] for one in told["errors"]] == ["body_html"]
    assert room.count(Release) == 0
    assert room.post_release(reference="good").status_code == 202


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
@pytest.mark.parametrize("word", ["sleep", "late-sleep"])
def test_if_what_composes_is_killed_nothing_is_written_and_the_caller_may_ask_again(
    room: PressRoom, fragile: Composer, word: str
) -> None:
    with ThreadPoolExecutor(1) as caller:
        calling = caller.submit(room.post_release, body_html=f"<p>{word}</p>")
        [child] = eventually(sleeping, "it is being composed")
        with room.app.app_context(), db.engine.connect() as connection:
            idle = "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'"
            assert connection.execute(text(idle)).scalar() == 0
        os.kill(child, signal.SIGKILL)
        answer = calling.result()
    problem(answer, 503)
    assert answer.headers["Retry-After"] == "5"
    assert room.count(Release) == 0
    assert room.post_release(body_html="<p>Ingen skal bli glemt.</p>").status_code == 202


def test_what_takes_too_long_by_the_clock_is_given_up(
    room: PressRoom, fragile: Composer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(composer, "_ANSWER_SECONDS", 1.0)
    problem(room.post_release(body_html="<p>sleep</p>"), 503)
    assert not sleeping()


@pytest.mark.parametrize(
    "fragment",
    [
        "<span><div></span></div>",
        "<b><table></b></table>",
        "<sub><p></sub></p>",
        "<x><div></x></div>",
    ],
)
def test_what_ends_in_a_wrong_order_is_deep_and_harms_nothing(
    room: PressRoom, fragment: str
) -> None:
    """A count of tags takes these for shallow; a parser puts each into the one before."""
    assert room.post_release(reference="before").status_code == 202
    programs = own_programs()
    deep = fragment * (39_000 // fragment.count("<"))
    assert room.post_release(reference="deep", body_html=deep).status_code in (202, 422)
    assert room.post_release(reference="after").status_code == 202
    assert own_programs() == programs


def test_what_takes_a_parser_too_long_is_refused_with_a_sentence_and_ends_nothing(
    room: PressRoom,
) -> None:
    """Tags in attributes, which a parser reads otherwise than they look: its time is a square."""
    assert room.post_release(reference="before").status_code == 202
    programs = own_programs()
    deep = "".join(f"<u class={number} id '</u>" for number in range(9_000))
    told = problem(room.post_release(reference="deep", body_html=deep), 422)
    assert [(one["field"], "takes too long" in one["detail"]) for one in told["errors"]] == [
        ("body_html", True)
    ]
    assert room.post_release(reference="after").status_code == 202
    assert own_programs() == programs


def test_at_most_two_are_composed_at_once_and_the_third_waits(
    room: PressRoom, fragile: Composer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(composer, "_WAIT_SECONDS", 0.1)
    with ThreadPoolExecutor(2) as callers:
        slow = [callers.submit(room.post_release, body_html="<p>sleep</p>") for _ in range(2)]
        children = eventually(lambda: two(sleeping()), "two are being composed")
        problem(room.post_release(reference="third"), 503)
        for child in children:
            os.kill(child, signal.SIGKILL)
        assert [one.result().status_code for one in slow] == [503, 503]
    assert room.post_release(reference="third").status_code == 202


def two(found: list[int]) -> list[int]:
    """Return two things when they are there."""
    return found if len(found) == 2 else []


@pytest.mark.parametrize("many", [False, True])
def test_the_letters_of_every_language_are_kept_until_the_release_is_done(
    room: PressRoom, monkeypatch: pytest.MonkeyPatch, many: bool
) -> None:
    """Of every language that it has followers in; if those are many, of all that there are."""
    monkeypatch.setattr(composition, "_FEW", 1 if many else 1_000)
    room.confirmed("kari@example.org", locale="nn")
    room.confirmed("ola@example.org", locale="nb-NO")
    release_id = room.post_release(hold_minutes=60).json["id"]  # type: ignore[index]
    kept = {one.locale for one in room.rows(ComposedLetter)}
    assert kept == ({"en", "nb", "nn"} if many else {"nb", "nn"})
    room.stop(release_id)
    assert room.count(ComposedLetter) == 0
