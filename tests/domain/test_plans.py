"""What every visitor makes us ask is found by an index, however many have come before."""

from __future__ import annotations

from contextlib import closing

from mailer.domain.followers import links, preferences, subscriptions
from mailer.domain.releases import press_rooms, publishing
from mailer.domain.releases.release_body import ReleaseBody
from mailer.storage.database import statement_connection
from tests.plans import questions, whole_tables
from tests.support.press_room import EVIDENCE, KARI, SLUG, PressRoom
from tests.support.releases import release


def test_no_visitor_makes_us_read_a_whole_table(room: PressRoom) -> None:
    body = ReleaseBody.model_validate(release())
    published = publishing.publish(room.settings, room.publisher, body)
    kari = room.confirmed(KARI)
    with questions() as asked:
        press_rooms.page(SLUG, 10)
        press_rooms.read(SLUG, published.id)
        press_rooms.latest(room.publisher)
        subscriptions.sign_up(room.settings, room.publisher, KARI, EVIDENCE)
        links.look_up(kari)
        preferences.look_up(kari)
        preferences.ask_for_link(room.settings, kari)
    assert len(asked) > 10
    with closing(statement_connection()) as connection:
        for statement, parameters in asked.items():
            assert not whole_tables(connection, statement, parameters), statement
