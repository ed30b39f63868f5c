"""The table of faults, a row for each.

Nobody is ever lost; that is not in the table, since it is the same in every row.
"""

from __future__ import annotations

from tests.faults import (
    copies,
    database_faults,
    host_faults,
    redis_faults,
    relay_faults,
    web_faults,
    worker_faults,
)
from tests.faults.fault import (
    CONNECTIONS_EACH,
    LOST_ANSWERS,
    NONE,
    POSTGRESQL,
    SQLITE,
    Fault,
)
from tests.faults.host_trial import FarRelay, HostTrial
from tests.faults.trial import Trial
from tests.support.postfix import Postfix


def _count_once(trial: Trial) -> None:
    """Count what is the case all the time as one injection a release."""
    trial.story.strikes += 1


# Long enough for a database to come back within it: what is then still ours is acknowledged again.
_PATIENT = {"MAILER_LEASE_SECONDS": "20"}
_DOWN = {"MAILER_LEASE_SECONDS": str(database_faults.DOWN_LEASE_SECONDS)}
# Few connections have long batches, in which people are looked up more than once.
_FEW_CONNECTIONS = {"MAILER_CONNECTIONS": "2"}

FAULTS = (
    Fault(
        *(1, "Work horse killed", "kill -9 of the process that sends", CONNECTIONS_EACH),
        inject=worker_faults.kill_horse,
        short=3,
    ),
    Fault(
        *(2, "Parent killed", "kill -9 of the worker's parent process", CONNECTIONS_EACH),
        inject=worker_faults.kill_parent,
    ),
    Fault(
        *(3, "Worker killed", "kill -9 of parent and work horse together", CONNECTIONS_EACH),
        inject=worker_faults.kill_group,
    ),
    Fault(
        *(4, "Worker frozen", "SIGSTOP for longer than the lease, then SIGCONT; a second worker"),
        CONNECTIONS_EACH,
        inject=worker_faults.freeze_horse,
        during=worker_faults.two_workers,
    ),
    Fault(
        *(5, "Deploy", "SIGTERM while it sends, then the next version started", NONE),
        inject=worker_faults.deploy,
    ),
    Fault(
        *(6, "Web killed", "kill -9 at every statement and commit of the publish call, repeated"),
        NONE,
        publish=web_faults.publish_through_kills,
        settings=web_faults.WITH_FAILPOINTS,
        crowd=600,
    ),
    Fault(
        *(7, "Publish calls at once", "the same call 50 times at the same moment", NONE),
        publish=web_faults.publish_at_once,
        crowd=600,
    ),
    Fault(
        *(8, "Killed in the freeze", "kill -9 while the audience is being written", NONE),
        publish=worker_faults.publish_and_kill_in_freeze,
        crowd=600,
    ),
    Fault(
        *(9, "Redis killed", "kill -9, and an empty Redis in its place", NONE),
        inject=redis_faults.kill_redis,
        alike=True,
    ),
    Fault(*(10, "Redis wiped", "FLUSHALL", NONE), inject=redis_faults.flush_redis, alike=True),
    Fault(
        *(11, "Redis absent", "never started", NONE),
        afterwards=_count_once,
        alike=True,
        redis=False,
        long=1,
    ),
    Fault(
        *(12, "Redis frozen", "SIGSTOP, a publish call, SIGCONT", NONE),
        inject=redis_faults.freeze_redis,
        alike=True,
    ),
    Fault(
        *(13, "PostgreSQL killed", "kill -9 of the postmaster, started again", NONE),
        inject=database_faults.kill_postgresql,
        databases=POSTGRESQL,
        settings=_PATIENT,
        short=2,
    ),
    Fault(
        *(14, "Connections cut", "pg_terminate_backend for all", NONE),
        inject=database_faults.cut_connections,
        databases=POSTGRESQL,
        settings=_PATIENT,
        short=3,
    ),
    Fault(
        *(15, "PostgreSQL down", f"stopped for {database_faults.DOWN_SECONDS} s, past the lease"),
        CONNECTIONS_EACH,
        inject=database_faults.stop_postgresql,
        databases=POSTGRESQL,
        settings=_DOWN,
        long=1,
    ),
    Fault(
        *(16, "Disk full", "not one byte left for the database, then space again"),
        CONNECTIONS_EACH,
        inject=database_faults.fill_disk,
        small_disk=True,
    ),
    Fault(
        *(17, "SQLite held", "BEGIN EXCLUSIVE for 4 s, and a publish call in that time", NONE),
        inject=database_faults.hold_writer,
        databases=SQLITE,
        settings=_PATIENT,
    ),
    Fault(
        *(18, "Answers lost", "the relay takes every message, and loses 1 % of its answers"),
        LOST_ANSWERS,
        during=relay_faults.forgetful,
        afterwards=relay_faults.count_lost_answers,
        alike=True,
    ),
    Fault(
        *(19, "Relay killed", "kill -9 of the relay, started again", CONNECTIONS_EACH),
        inject=relay_faults.kill_relay,
        alike=True,
    ),
    Fault(
        *(20, "Relay overloaded", "421 to connections and 452 to recipients for 2 s", NONE),
        inject=relay_faults.overload_relay,
        long=10,
        afterwards=relay_faults.nobody_is_blamed,
        alike=True,
    ),
    Fault(
        *(21, "Relay misconfigured", "a wrong password; mended, and nobody resumes it", NONE),
        publish=relay_faults.publish_with_wrong_password,
        afterwards=relay_faults.nobody_is_blamed,
        short=2,
        crowd=600,
        alike=True,
    ),
    Fault(
        *(22, "Relay silent", "SIGSTOP of the relay for twice the timeout of the reply to a dot"),
        CONNECTIONS_EACH,
        inject=relay_faults.silence_relay,
        settings=relay_faults.SILENCE_TIMEOUT,
        long=5,
        alike=True,
    ),
    Fault(
        *(23, "Followers leave", "20 one-click POSTs while the release goes out", NONE),
        publish=relay_faults.publish_and_leave,
        afterwards=relay_faults.nobody_hears_much_later,
        settings=_FEW_CONNECTIONS,
        short=20,
        crowd=2_000,
    ),
    Fault(
        *(
            24,
            "Clock ahead",
            "a second worker an hour ahead, alone during a deploy of the first",
            NONE,
        ),
        during=worker_faults.clock_ahead,
        inject=worker_faults.deploy,
        databases=POSTGRESQL,
    ),
    Fault(
        *(25, "Old copy restored", "a dump in the middle, restored after the end", NONE),
        inject=copies.dump,
        afterwards=copies.restore_dumps,
        long=10,
    ),
    Fault(
        *(26, "Postfix aborted", "`postfix abort` of a real one, started again", CONNECTIONS_EACH),
        inject=relay_faults.kill_relay,
        crowd=2_000,
        alike=True,
        relay_class=Postfix,
    ),
    Fault(
        *(27, "Killed while Redis is absent", "rows 1 to 3 at random", CONNECTIONS_EACH),
        inject=worker_faults.kill_somehow,
        redis=False,
    ),
    # The nastiest is part of every run of the tests, the others are not: each takes its time.
    *(
        Fault(
            *(number, f"Host cut off from {what}", host_faults.INJECTED, CONNECTIONS_EACH),
            inject=inject,
            databases=POSTGRESQL,
            settings=host_faults.SETTINGS,
            short=short,
            long=1,
            crowd=5_000,
            trial=HostTrial,
            relay_class=FarRelay,
        )
        for number, what, inject, short in (
            (28, "the database", host_faults.cut_off_from_database, 1),
            (29, "the relay", host_faults.cut_off_from_relay, 0),
            (30, "everything", host_faults.cut_off_from_everything, 0),
        )
    ),
)
