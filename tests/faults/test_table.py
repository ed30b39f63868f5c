"""Every fault of the table is injected while releases go out, and everyone is counted."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from mailer.storage.migrations import upgrade
from tests.conftest import Databases
from tests.disks import SmallDisk, small_disk
from tests.faults.fault import Database, Fault
from tests.faults.host_trial import HostParts, HostTrial
from tests.faults.report import Finding, note
from tests.faults.table import FAULTS
from tests.faults.trial import Trial
from tests.servers import PostgreSQL, Redis
from tests.support.trial import Parts

_DISK_MEGABYTES = 512
CASES = [(fault, database) for fault in FAULTS for database in fault.played_on]


@pytest.fixture
def parts(
    request: pytest.FixtureRequest,
    fault: Fault,
    database: Database,
    databases: Databases,
    redis: Redis,
    tmp_path: Path,
) -> Iterator[Parts]:
    """The servers of one trial, as the fault wants them."""
    if not fault.redis:
        redis.stop()
    if fault.trial is HostTrial:
        with HostParts.laid(tmp_path) as parts:
            yield parts
        return
    if fault.small_disk:
        with _on_small_disk(database, redis, tmp_path) as parts:
            yield parts
        return
    server = request.getfixturevalue("postgresql") if database == "postgresql" else None
    with databases.fresh(database) as url:
        yield Parts(url, tmp_path, redis, server)


@contextmanager
def _on_small_disk(database: Database, redis: Redis, folder: Path) -> Iterator[Parts]:
    with ExitStack() as stack:
        user = PostgreSQL.USER if database == "postgresql" else None
        disk: SmallDisk = stack.enter_context(small_disk(_DISK_MEGABYTES, user))
        server = None
        url = f"sqlite:///{disk.folder}/mailer.sqlite3"
        if database == "postgresql":
            server = PostgreSQL(disk.folder)
            stack.callback(server.stop)
            server.start()
            url = server.create_database("mailer")
        upgrade(url)
        yield Parts(url, folder, redis, server, disk)


@pytest.mark.parametrize(
    ("fault", "database"), CASES, ids=[f"{fault}-{database}" for fault, database in CASES]
)
def test_nobody_is_lost_and_duplicates_keep_their_bound(
    fault: Fault, database: Database, parts: Parts
) -> None:
    seed = os.environ.get("FAULTS_SEED") or str(random.SystemRandom().randrange(10**6))
    print(f"FAULTS_SEED={seed}")
    finding = Finding.of(fault, database, seed)
    note(finding)
    with fault.trial.running(
        parts, fault.settings, seed, fault.followers, fault.relay_class
    ) as trial:
        with fault.during(trial):
            play(fault, trial)
        count = trial.count()
        finding = finding.after(fault, trial, count)
        note(finding)
        assert count.lost == 0, finding
        assert fault.bound.holds(trial.story, count.duplicates), finding
        assert not trial.unannounced(count.doubled), "duplicates that no receipt tells of"
    assert finding.counted, "the trial ended before anybody was counted"
    held = replace(finding, held=True)
    note(held)
    print(held)


def play(fault: Fault, trial: Trial) -> None:
    """Publish as often as it takes to do it so many times, each at a random moment."""
    while trial.story.strikes < fault.times:
        fault.publish(trial)
        if fault.inject is not None:
            for moment in trial.moments(fault.times - trial.story.strikes):
                if trial.until_accepted(moment):
                    trial.strike(fault.inject)
        receipt = trial.until_done()
        # Whose dots were twice not answered has it, as is counted below, and is sent no third one.
        closed = receipt["reasons"].get("skipped", {}).get("unanswered", 0)
        reached = receipt["accepted"] + closed
        assert reached + len(trial.story.left) >= receipt["total"] == trial.number
        fault.afterwards(trial)
