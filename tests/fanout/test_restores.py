"""An older copy of the database that is put back sends nothing, and nobody is disturbed by it."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from itsdangerous import Signer
from redis import Redis as Client
from sqlalchemy import select, text, update

from mailer.domain import restores
from mailer.domain.followers import subscriptions
from mailer.domain.followers.erasure import erase
from mailer.domain.restores import is_trusted
from mailer.fanout.freeze import freeze_next
from mailer.storage import generation, witnesses
from mailer.storage.database import (
    begin,
    db,
    read_transaction,
    statement_connection,
    transaction,
)
from mailer.storage.generation import Numbered
from mailer.storage.migrations import sqlite_file
from mailer.storage.models import Generation, Release, Subscription
from tests.fanout.press_room import ADA, BOB, CAI, DAG, EVA, FOLLOWERS, SendingRoom, together
from tests.servers import Redis
from tests.support.backups import put_back, take
from tests.support.press_room import EVIDENCE


def forget() -> None:
    """Start every process anew: none remembers anything."""
    generation._remembered.clear()


@pytest.fixture
def state(room: SendingRoom, tmp_path: Path) -> Path:
    """The folder in which this press room's service notes how far it has come."""
    room.adjust(state_dir=tmp_path / "state")
    return tmp_path / "state"


@pytest.fixture
def copy(room: SendingRoom, state: Path, tmp_path: Path) -> Path:
    """A backup, made in the middle of a release, ten seconds before the last sweep."""
    room.adjust(connections=1)
    room.publish()
    room.sweep()
    return take(tmp_path / "backup")


def present() -> Numbered:
    with read_transaction() as session:
        return generation.read(session.connection())


def because(room: SendingRoom) -> str | None:
    return restores.look(room.settings).because


def is_erased(subscription_id: int) -> bool:
    with read_transaction() as session:
        return session.get_one(Subscription, subscription_id).subscriber_id is None


def only_redis(state: Path) -> None:
    forget()
    shutil.rmtree(state)


def only_the_file(redis: Redis) -> None:
    forget()
    redis.flush()


@pytest.mark.parametrize("left", ["redis", "file", "process"])
def test_an_older_copy_is_paused_and_sends_nothing(
    room: SendingRoom, redis: Redis, state: Path, copy: Path, left: str
) -> None:
    room.drain()
    room.sweep()
    if left == "redis":
        only_redis(state)
    elif left == "file":
        only_the_file(redis)
    else:
        redis.flush()
        shutil.rmtree(state)
    put_back(copy)
    room.drain()
    assert room.received() == dict.fromkeys(FOLLOWERS, 1)
    room.sweep()
    (release,) = room.rows(Release)
    assert (release.state, release.paused_because) == ("paused", restores.OLDER)
    assert because(room) is None
    room.resume(release.id)
    room.sweep()
    room.drain()
    assert room.received() == dict.fromkeys(FOLLOWERS, 2)


def test_a_drain_that_runs_notices_it(room: SendingRoom, copy: Path) -> None:
    room.sweep()
    with transaction() as session:
        freeze_next(session, 1)
    assert room.claim()
    put_back(copy)
    with transaction() as session:
        freeze_next(session, 1)
    assert room.claim() is None


def test_a_drain_that_has_begun_claims_nothing_of_an_older_copy(
    room: SendingRoom, redis: Redis, state: Path, copy: Path
) -> None:
    """Also where nothing but this process remembers the database, which it has trusted."""
    room.sweep()
    with transaction() as session:
        freeze_next(session, 1)
    forget()
    with closing(statement_connection()) as connection:
        assert is_trusted(connection, room.settings)
    redis.flush()
    shutil.rmtree(state)
    put_back(copy)
    with transaction() as session:
        freeze_next(session, 1)
    assert not room.claim()


def test_no_drain_begins_with_a_connection_to_a_file_that_was_replaced(
    sqlite_room: tuple[SendingRoom, dict[str, str]], tmp_path: Path
) -> None:
    room, _ = sqlite_room
    room.adjust(state_dir=tmp_path / "state")
    room.publish()
    room.sweep()
    copy = take(tmp_path / "backup")
    room.sweep()
    file = sqlite_file(db.engine)
    assert file is not None
    with db.engine.connect() as kept, begin(kept):
        kept.execute(text("SELECT 1"))
    for suffix in ("-wal", "-shm"):
        file.with_name(file.name + suffix).unlink(missing_ok=True)
    copy.replace(file)
    forget()
    with closing(statement_connection()) as connection:
        assert not is_trusted(connection, room.settings)


def test_what_has_no_witness_at_all_is_paused_in_another_place(
    room: SendingRoom, redis: Redis, state: Path
) -> None:
    release_id = room.publish()
    room.sweep()
    forget()
    redis.flush()
    shutil.rmtree(state)
    with transaction() as session:
        session.execute(update(Release).values(database_identity="another database"))
    room.drain()
    assert room.received() == Counter()
    room.sweep()
    assert room.release(release_id).paused_because == restores.ELSEWHERE


@pytest.mark.parametrize("lost", ["nothing", "redis", "file", "both", "memory", "all"])
def test_nothing_that_is_lost_raises_a_false_alarm(
    room: SendingRoom, redis: Redis, state: Path, lost: str
) -> None:
    room.publish()
    room.sweep()
    if lost in ("redis", "both", "all"):
        redis.flush()
    if lost in ("file", "both", "all"):
        shutil.rmtree(state)
    if lost in ("memory", "all"):
        forget()
    for _ in range(3):
        room.sweep()
        assert because(room) is None
    room.drain()
    assert room.received() == dict.fromkeys(FOLLOWERS, 1)


def test_a_database_that_is_moved_on_purpose_goes_on(
    room: SendingRoom, redis: Redis, state: Path
) -> None:
    release_id = room.publish()
    room.sweep()
    with transaction() as session:
        session.execute(update(Release).values(database_identity="another database"))
    room.sweep()
    room.drain()
    assert room.receipt(release_id).accepted == len(FOLLOWERS)


def test_a_copy_that_is_accepted_disturbs_no_original(
    room: SendingRoom, redis: Redis, copy: Path, tmp_path: Path
) -> None:
    """As staging, loaded from a dump of production, beside the same Redis and folder."""
    room.sweep()
    production, name = take(tmp_path / "production"), present().name
    put_back(copy)
    room.sweep()
    assert present().name != name
    for one in room.rows(Release):
        room.resume(one.id)
    room.unsubscribe(room.subscription(ADA).id)
    room.sweep()
    put_back(production)
    assert because(room) is None
    assert room.subscription(ADA).ended_at is None


def test_a_copy_that_knows_as_much_as_its_original_speaks_for_itself_alone(
    room: SendingRoom, redis: Redis, state: Path
) -> None:
    """Production is idle: its dump, loaded elsewhere beside the same Redis, has the same number."""
    room.sweep()
    production = present()
    with transaction() as session:
        assert session.scalar(select(Generation.database_identity)) is not None
        session.execute(update(Generation).values(database_identity="another database"))
    room.unsubscribe(room.subscription(ADA).id)
    assert witnesses.highest(room.settings, production.name) == production.number
    assert not witnesses.notes(room.settings, production.name)
    release_id = room.publish()
    room.sweep()
    room.drain()
    assert present().name != production.name
    assert room.receipt(release_id).accepted == len(FOLLOWERS) - 1
    assert witnesses.highest(room.settings, production.name) == production.number


def test_who_left_or_was_erased_since_is_out_again_and_who_came_back_follows(
    room: SendingRoom, redis: Redis, state: Path, tmp_path: Path
) -> None:
    ids = {one: room.subscription(one).id for one in FOLLOWERS}
    room.unsubscribe(ids[ADA])
    subscriptions.resume(room.settings, ids[ADA], EVIDENCE)
    room.unsubscribe(ids[BOB])
    copy = take(tmp_path / "backup")
    subscriptions.resume(room.settings, ids[BOB], EVIDENCE)
    room.unsubscribe(ids[CAI])
    room.unsubscribe(ids[DAG])
    subscriptions.resume(room.settings, ids[DAG], EVIDENCE)
    erase(room.settings, EVA)
    forget()
    put_back(copy)
    room.sweep()
    assert room.open_subscriptions(ADA) == [ids[ADA]]
    assert room.open_subscriptions(BOB) == [ids[BOB]]
    assert room.open_subscriptions(CAI) == []
    assert room.open_subscriptions(DAG) == [ids[DAG]]
    assert is_erased(ids[EVA])
    room.publish()
    room.drain()
    assert room.received() == dict.fromkeys((ADA, BOB, DAG), 1)


def test_a_forged_note_ends_nothing(room: SendingRoom, redis: Redis, copy: Path) -> None:
    found, subscription = present(), room.subscription(ADA)
    room.unsubscribe(room.subscription(BOB).id)
    real = witnesses.notes(room.settings, found.name)
    said = f"{found.name}:{found.number + 9}:left:{subscription.id}:{subscription.nonce}"
    forged = [
        *("", ":::::", said, f"{said}.{'A' * 43}", Signer("another key").sign(said).decode()),
        *(one.replace(":left:", ":erased:") for one in real),
        *(one.replace(f":{found.number + 1}:", f":{found.number + 99}:") for one in real),
    ]
    witnesses.tell(room.settings, Numbered(found.name, found.number + 100), *forged)
    put_back(copy)
    room.sweep()
    assert room.open_subscriptions(ADA) == [subscription.id]
    assert room.open_subscriptions(BOB) == []
    assert not is_erased(room.subscription(BOB).id)


@pytest.mark.parametrize("number", ["inf", "-inf", "1e300", "0.5", "99999999999999999999"])
def test_a_forged_number_pauses_at_most(
    room: SendingRoom, redis: Redis, state: Path, number: str
) -> None:
    release_id = room.publish()
    room.sweep()
    with Client.from_url(redis.url) as forger:
        forger.zadd("mailer:generations", {present().name: number})
    forget()
    room.sweep()
    if room.release(release_id).state == "paused":
        room.resume(release_id)
    room.sweep()
    room.drain()
    assert room.receipt(release_id).accepted == len(FOLLOWERS)


@pytest.mark.parametrize("text", ["", "no number", "1\n2", "\x00", "9" * 5_000])
def test_a_broken_file_is_no_witness(room: SendingRoom, state: Path, text: str) -> None:
    release_id = room.publish()
    room.sweep()
    (state / f"generation-{present().name}").write_text(text)
    (state / f"notes-{present().name}").write_text(text)
    room.sweep()
    room.drain()
    assert room.receipt(release_id).accepted == len(FOLLOWERS)


def test_looks_beside_ways_out_raise_no_false_alarm(room: SendingRoom, redis: Redis) -> None:
    room.publish()
    ids = [room.subscription(one).id for one in FOLLOWERS]

    def leave_and_return(one: int) -> None:
        for _ in range(10):
            room.unsubscribe(one)
            subscriptions.resume(room.settings, one, EVIDENCE)

    def looking() -> None:
        for _ in range(60):
            assert because(room) is None

    together(*(lambda one=one: leave_and_return(one) for one in ids), looking, looking)
    room.sweep()
    assert because(room) is None


@pytest.mark.parametrize("way", ["cp", "mv"])
@pytest.mark.usefixtures("sqlite_room")
def test_a_connection_to_a_file_that_was_replaced_is_not_used_again(
    tmp_path: Path, way: str
) -> None:
    """As by cp or mv under running processes: what they write to the file before is lost."""
    file = sqlite_file(db.engine)
    assert file is not None
    copy = take(tmp_path / "backup")
    with db.engine.connect() as kept, begin(kept):
        kept.execute(text("SELECT 1"))
    for suffix in ("-wal", "-shm"):
        file.with_name(file.name + suffix).unlink(missing_ok=True)
    subprocess.run([way, copy, file], check=True)
    before = present().number
    with transaction() as session:
        generation.raise_number(session)
    with closing(sqlite3.connect(file)) as other:
        assert other.execute("SELECT number FROM generation").fetchone() == (before + 1,)
