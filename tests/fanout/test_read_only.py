"""A database that is read-only for a while, as a managed one is when its disk fills."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from tests.fanout.press_room import SendingRoom, crowd
from tests.processes import eventually

PEOPLE = crowd(300)


@contextmanager
def read_only(room: SendingRoom) -> Iterator[None]:
    """Let the server take no writing, in connections that are open as well."""
    url = room.settings.database_url.replace("postgresql+psycopg", "postgresql")
    with psycopg.connect(url, autocommit=True) as connection:

        def switch(value: str) -> None:
            # Of its own session, which has to switch it back.
            connection.execute("SET default_transaction_read_only = off")
            connection.execute(f"ALTER SYSTEM SET default_transaction_read_only = {value}")
            connection.execute("SELECT pg_reload_conf()")

        switch("on")
        try:
            eventually(lambda: room.client.get("/readyz").status_code == 503, "it is read-only")
            yield
        finally:
            switch("off")


def test_nobody_has_it_twice_and_callers_are_told_to_come_back(
    postgresql_room: SendingRoom,
) -> None:
    room = postgresql_room
    room.add_followers(*PEOPLE)
    release_id = room.publish()
    with room.draining():
        room.relay.wait_for(20)
        with read_only(room):
            answer = room.post_release(reference="now")
            assert answer.status_code == 503
            assert "Retry-After" in answer.headers
            form = {"address": "kari@example.org"}
            answer = room.client.post(f"/{room.publisher.slug}/follow", data=form)
            assert answer.status_code == 503
    room.drain()
    assert room.receipt(release_id).state == "done"
    assert set(room.received()) >= set(PEOPLE)
    assert max(Counter(room.received()).values()) == 1
    assert room.client.get("/readyz").status_code == 200
