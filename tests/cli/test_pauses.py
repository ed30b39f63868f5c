"""What an operator does at 3 a.m.: which releases are paused, and going on with all of them."""

from __future__ import annotations

from tests.cli.operator import Operator
from tests.support.press_room import SLUG, open_press_room


def test_paused_releases_are_listed_with_the_reason_and_resumed_together(
    operator: Operator, database_url: str
) -> None:
    with open_press_room(database_url) as room:
        ids = [room.publish(), room.publish()]
        said = operator.run("release", "list", "--paused")
        assert (said.status, said.out) == (0, "")
        for release_id in ids:
            room.pause(release_id)
        said = operator.run("release", "list", "--paused")
        assert said.status == 1
        assert [line.partition(":")[0] for line in said.out.splitlines()] == [
            f"Release {release_id} of {SLUG}" for release_id in ids
        ]
        said = operator.does("release", "resume", "--all")
        assert said.out.splitlines() == [f"Release {release_id} goes on." for release_id in ids]
        assert operator.does("release", "resume", "--all").out == "No release is paused.\n"
        assert operator.run("release", "list", "--paused").status == 0


def test_one_or_all_is_said(operator: Operator) -> None:
    for arguments in (["resume"], ["resume", "1", "--all"], ["retry", "1"]):
        said = operator.run("release", *arguments)
        assert said.status == 2
        assert "Traceback" not in said.err


def test_a_retry_says_how_many_get_it_again(operator: Operator, database_url: str) -> None:
    with open_press_room(database_url) as room:
        release_id = room.publish(notify=False)
        said = operator.does("release", "retry", str(release_id), "--refused", "5.7.1")
        assert said.out == f"Release {release_id} goes to 0 recipients again.\n"
