"""The other releases that a release lists: what was out when it was frozen, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from html import unescape

from mailer.domain import publishers
from mailer.domain.releases import publishing
from mailer.domain.releases.composition import latest
from mailer.domain.releases.release_body import ReleaseBody
from mailer.mail.content import Headline
from mailer.storage.database import read_transaction
from tests.fanout.press_room import ADA, SendingRoom
from tests.support.press_room import DRAFT, NAME

HERE = "https://follow.example.org/fjordavisa"


def listed(room: SendingRoom, release_id: int) -> list[Headline]:
    """Return what a release lists, as it is composed now."""
    with read_transaction() as session:
        return list(latest(session, room.release(release_id), HERE))


def titles(room: SendingRoom, release_id: int) -> list[str]:
    return [one.title for one in listed(room, release_id)]


def sent(room: SendingRoom, title: str, **fields: object) -> int:
    """Publish a release and send it to everybody."""
    release_id = room.publish(title=title, **fields)
    room.drain()
    return release_id


def test_a_release_lists_the_newest_four_before_it(room: SendingRoom) -> None:
    for number in range(1, 7):
        last = sent(room, f"Nytt {number}")
    assert titles(room, last) == ["Nytt 5", "Nytt 4", "Nytt 3", "Nytt 2"]


def test_the_list_is_in_the_mail(empty_room: SendingRoom) -> None:
    empty_room.add_followers(ADA)
    first = sent(empty_room, "Ny brygge")
    web = "https://fjordavisa.example/mast"
    sent(empty_room, "Ny mast", web_url=web)
    sent(empty_room, "Ny båt")
    message = empty_room.relay.received[-1].message
    for kind in ("plain", "html"):
        body = message.get_body((kind,))
        assert body is not None
        text = unescape(body.get_content())
        assert f"Siste pressemeldinger fra {NAME}" in text
        assert text.index("Ny mast") < text.index("Ny brygge")
        assert web in text
        assert f"{empty_room.settings.base_url}/fjordavisa/{first}" in text


def test_what_was_published_without_mailing_anybody_is_listed_by_its_date(
    room: SendingRoom,
) -> None:
    sent(room, "I år")
    sent(room, "I fjor", published_at=(datetime.now(UTC) - timedelta(days=365)).isoformat())
    assert titles(room, sent(room, "Nå")) == ["I år", "I fjor"]


def test_what_is_not_out_is_not_listed(room: SendingRoom) -> None:
    room.publish(title="Holdt", hold_minutes=10)
    room.publish(title="Senere", published_at=(datetime.now(UTC) + timedelta(1)).isoformat())
    assert room.stop(room.publish(title="Stoppet")) == "stopped"
    assert titles(room, sent(room, "Nå")) == []


def test_what_was_stopped_on_the_way_was_out(room: SendingRoom) -> None:
    stopped = room.freeze()
    room.stop(stopped)
    assert titles(room, sent(room, "Nå")) == ["Skuta er hjemme"]


def test_nothing_that_happens_afterwards_changes_the_list(room: SendingRoom) -> None:
    before = sent(room, "Før")
    held = room.publish(title="Holdt", hold_minutes=10)
    release_id = sent(room, "Nå")
    seen = listed(room, release_id)
    assert [one.title for one in seen] == ["Før"]
    sent(room, "Etter")
    sent(room, "For arkivet", notify=False)
    room.resume(held)
    room.drain()
    assert room.receipt(before).state == "done"
    assert listed(room, release_id) == seen


def test_the_releases_of_another_press_room_are_its_own(room: SendingRoom) -> None:
    publishers.add(publishers.PublisherDraft("fjellavisa", "Fjellavisa", DRAFT.from_address, "nb"))
    body = ReleaseBody.read(
        {"reference": "a", "language": "nb", "title": "Fjell", "body_html": "<p>Fjell.</p>"}
    )
    publishing.publish(room.settings, publishers.find("fjellavisa"), body)
    room.drain()
    assert titles(room, sent(room, "Nå")) == []


def test_a_date_is_the_one_that_the_press_room_wrote(room: SendingRoom) -> None:
    written = datetime.now(UTC).replace(microsecond=0).astimezone(
        timezone(timedelta(hours=2))
    ) - timedelta(hours=1)
    moment = written.isoformat()
    sent(room, "Før", published_at=moment)
    [headline] = listed(room, sent(room, "Nå"))
    assert headline.published_at.isoformat() == moment
    assert headline.language == "nb"
