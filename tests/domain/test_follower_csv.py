"""Followers that a press room brings along by the file."""

from __future__ import annotations

import pytest

from mailer.domain.followers.follower_csv import ImportReport, import_followers
from mailer.errors import InvalidInput, NotFound
from mailer.storage.models import Subscriber, Subscription
from tests.support.press_room import ADA, KARI, OLA, SLUG, PressRoom
from tests.support.signed_links import look_up

ONE = "Enter one valid email address."
LOCALES = ("nb", "nn", "en")


def bring(
    *lines: str, header: str = "address,confirmed_at,locale", slug: str = SLUG
) -> ImportReport:
    text = "".join(f"{line}\n" for line in (header, *lines))
    return import_followers(slug, text.splitlines(keepends=True), locales=LOCALES)


def test_a_follower_is_confirmed_as_of_then_and_gets_no_letter(room: PressRoom) -> None:
    report = bring(f"{KARI},2024-05-17T12:00:00+02:00,nn")
    assert (report.added, report.already, report.refused) == (1, 0, {})
    [one] = room.open_subscriptions(KARI)
    view = look_up(one)
    assert (view.confirmed, view.locale) == (True, "nn")
    assert room.letters() == []
    assert room.steps(one) == ["imported"]


def test_the_press_rooms_own_language_is_the_default(room: PressRoom) -> None:
    bring(KARI, header="address")
    [one] = room.open_subscriptions(KARI)
    assert look_up(one).locale == room.publisher.locale


def test_a_refused_line_is_named_by_number_and_reason_and_the_others_are_in(
    room: PressRoom,
) -> None:
    report = bring(f"{KARI},,", "ola,,", f"{ADA},,", ",,", "a@b.no,yesterday,", "b@b.no,,de")
    assert report.added == 2
    assert report.refused[3] == ONE
    assert report.refused[5] == ONE
    assert "2026-01-31T12:00:00+01:00" in report.refused[6]
    assert "nb, nn, en" in report.refused[7]
    assert set(report.refused) == {3, 5, 6, 7}


@pytest.mark.parametrize(
    "moment",
    [
        "2024-05-17",
        "2024-05-17T12:00:00",
        "17.05.2024",
        "2999-01-01T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "1715940000",
    ],
)
def test_a_confirmation_is_a_moment_in_the_past_with_its_zone(room: PressRoom, moment: str) -> None:
    report = bring(f"{KARI},{moment},nb")
    assert set(report.refused) == {2}
    assert room.open_subscriptions(KARI) == []


def test_who_has_left_stays_away(room: PressRoom) -> None:
    room.unsubscribe(room.confirmed(KARI))
    report = bring(f"{KARI},,", f"{OLA},,")
    assert report.added == 1
    assert "left" in report.refused[2]
    assert room.open_subscriptions(KARI) == []


def test_who_was_asked_and_has_not_answered_is_not_confirmed_by_an_import(room: PressRoom) -> None:
    one = room.sign_up(KARI)
    assert "asked to confirm" in bring(f"{KARI},,").refused[2]
    assert room.view(one) == (False, False)


def test_a_mailbox_that_does_not_exist_is_refused(room: PressRoom) -> None:
    room.sign_up(KARI)
    room.suppress(KARI)
    assert "mailbox" in bring(f"{KARI},,").refused[2]


def test_the_same_file_again_changes_nothing(room: PressRoom) -> None:
    lines = (f"{KARI},,", f"{OLA},,", "wrong,,")
    first, again = bring(*lines), bring(*lines)
    assert (first.added, again.added, again.already) == (2, 0, 2)
    assert again.refused == first.refused
    assert room.count(Subscription) == 2


def test_an_address_twice_in_any_writing_is_one_follower(room: PressRoom) -> None:
    report = bring(f"{KARI},,", "KARI@example.org,,", f" {KARI} ,,", "kari@EXAMPLE.org,,")
    assert (report.added, report.already) == (1, 3)
    assert room.count(Subscriber) == 1


def test_an_address_twice_and_far_apart_is_one_follower(room: PressRoom) -> None:
    crowd = [f"reader{number}@example.org,," for number in range(1_200)]
    report = bring(f"{KARI},,", *crowd, f"{KARI},,")
    assert (report.added, report.already, report.refused) == (1_201, 1, {})


@pytest.mark.parametrize(
    "header", ["", "email,confirmed_at,locale", "confirmed_at,locale", "address,colour", KARI]
)
def test_a_file_without_the_columns_is_refused_whole(room: PressRoom, header: str) -> None:
    with pytest.raises(InvalidInput, match="address, confirmed_at, locale"):
        bring(f"{OLA},,", header=header)
    assert room.count(Subscriber) == 0


def test_columns_written_as_the_refusal_writes_them_are_understood(room: PressRoom) -> None:
    assert bring(f"{KARI}, , nn", header="address, confirmed_at, locale").added == 1


def test_an_empty_file_is_refused(room: PressRoom) -> None:
    with pytest.raises(InvalidInput):
        import_followers(SLUG, [], locales=LOCALES)


def test_a_file_with_a_header_alone_brings_nobody(room: PressRoom) -> None:
    assert bring() == ImportReport()


def test_a_press_room_that_is_not_there_gets_nobody(room: PressRoom) -> None:
    with pytest.raises(NotFound):
        bring(f"{KARI},,", slug="nobody")


def test_every_line_is_accounted_for(room: PressRoom) -> None:
    lines = [f"{KARI},,", f"{OLA},,", f"{OLA},,", "wrong,,", f"{ADA},never,"]
    report = bring(*lines)
    assert report.added + report.already + len(report.refused) == len(lines)


def test_a_refused_line_is_where_an_editor_finds_it(room: PressRoom) -> None:
    report = bring(f"{KARI},,", "", "", "wrong,,")
    assert set(report.refused) == {5}


def test_a_letter_lost_to_a_wrong_encoding_is_refused(room: PressRoom) -> None:
    latin = f"address\nkåre@example.org\n{KARI}\n".encode("latin-1")
    lines = latin.decode("utf-8", errors="replace").splitlines(keepends=True)
    report = import_followers(SLUG, lines, locales=LOCALES)
    assert (report.added, set(report.refused)) == (1, {2})


def test_a_line_without_end_is_refused_and_the_others_are_in(room: PressRoom) -> None:
    report = bring(f"{'x' * 200_000},,", f"{KARI},,")
    assert (report.added, set(report.refused)) == (1, {2})


def test_an_address_with_control_characters_is_refused(room: PressRoom) -> None:
    report = bring("ka\0ri@example.org,,", '"kari@example.org\nola@example.org",,', f"{ADA},,")
    assert report.added == 1
    assert len(report.refused) == 2


def test_who_asked_and_never_confirmed_is_not_called_a_follower(room: PressRoom) -> None:
    """The press room's word is as good for them as for whoever never asked."""
    one = room.sign_up(KARI)
    report = bring(f"{KARI},,")
    assert report.already == 0 or look_up(one).confirmed


def test_progress_counts_every_line_once(room: PressRoom) -> None:
    done: list[int] = []
    lines = ["address\n", *(f"reader{number}@example.org\n" for number in range(1_500))]
    import_followers(SLUG, lines, locales=LOCALES, progress=done.append)
    assert sum(done) == 1_500
