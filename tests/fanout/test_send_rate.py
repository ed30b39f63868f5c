"""The send rate of a whole service: limits that several processes keep together."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis as Client

from mailer.config import Settings
from mailer.fanout.answers.send_rate import SendRate
from mailer.storage.rate_limits import SCHEDULE, SharedRateLimit
from tests.processes import Process, eventually, free_port
from tests.servers import Redis
from tests.service import ROOT, complete, contract
from tests.support.virtual_time import VirtualClock

TAKE_PERMITS = ["python", "-m", "tests.fanout.take_permits"]
SELDOM = "0.01"
"""One message in 100 seconds, so that however slow the machine is, a wait is a wait."""


def environment(redis_url: str = "", **settings: str) -> dict[str, str]:
    """Give the contract of a service that paces itself."""
    base = contract(
        database_url="sqlite:////none", redis_url=redis_url, smtp_url="smtp://127.0.0.1"
    )
    return base | {f"MAILER_{name.upper()}": value for name, value in settings.items()}


def paced(redis_url: str = "", **settings: str) -> SendRate:
    """Return the send rate of one process of such a service."""
    return SendRate(Settings.from_environment(environment(redis_url, **settings)), asyncio.Event())


class Senders:
    """Some processes that take all the permits they can get."""

    def __init__(self, folder: Path, variables: dict[str, str], count: int) -> None:
        everything = complete(variables) | {"PYTHONPATH": str(ROOT)}
        self.processes = [
            Process(TAKE_PERMITS, folder / f"{number}.log", environment=everything)
            for number in range(count)
        ]
        for process in self.processes:
            process.launch()

    def said(self, process: Process) -> list[list[str]]:
        """Give what one of them has said, line by line, without what it has not finished."""
        return [line.split() for line in process.log.rpartition("\n")[0].splitlines()]

    def permits(self, process: Process) -> list[float]:
        """Give the moments at which one of them got permits."""
        return [float(words[1]) for words in self.said(process) if words[0] == "permit"]

    def each_takes(self, count: int) -> None:
        """Wait until each has got so many permits more."""
        before = [len(self.permits(process)) for process in self.processes]

        def taken() -> bool:
            now = [len(self.permits(process)) for process in self.processes]
            return all(one >= other + count for one, other in zip(now, before, strict=True))

        eventually(taken, "each takes more permits")

    def connections(self) -> list[int]:
        """Give how many connections each that runs may hold, by what it said last, in order."""
        running = [process for process in self.processes if process.running]
        last = [self.said(process)[-1:] for process in running]
        return sorted(int(words[0][2]) for words in last if words and words[0][0] == "permit")

    def kept_to(self, limit: float, events: int = 0) -> None:
        """Assert that at no time more were out than the limit allows, and a slice or two.

        Each thing that happens to Redis may cost one slice for each process more.
        """
        began = min(
            float(words[1])
            for process in self.processes
            for words in self.said(process)
            if words[0] == "began"
        )
        moments = sorted(moment for process in self.processes for moment in self.permits(process))
        slices = (1 + events) * (0.2 * limit + len(self.processes))
        for count, moment in enumerate(moments, start=1):
            assert count <= limit * (moment - began) + slices


def booked_seconds(redis: Redis) -> float:
    """Give how far from now everything is booked in Redis; below 0 if nothing is."""
    with Client.from_url(redis.url) as client:
        seconds, microseconds = cast("tuple[int, int]", client.time())
        free = cast("bytes", client.get(SCHEDULE) or b"0")
    return int(free) / 1_000_000 - seconds - microseconds / 1_000_000


Start = Callable[..., Senders]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start some processes with a Redis and settings; all are stopped at the end."""
    started: list[Process] = []

    def begin(count: int, redis_url: str = "", **settings: str) -> Senders:
        senders = Senders(tmp_path, environment(redis_url, **settings), count)
        started.extend(senders.processes)
        return senders

    yield begin
    for process in started:
        process.stop()


@pytest.mark.parametrize("limit", [20, 300])
def test_several_processes_keep_to_one_limit(redis: Redis, start: Start, limit: int) -> None:
    senders = start(3, redis.url, messages_a_second=str(limit))
    senders.each_takes(limit)
    senders.kept_to(limit)


def test_redis_may_be_killed_and_come_back(redis: Redis, start: Start) -> None:
    senders = start(2, redis.url, messages_a_second="100")
    senders.each_takes(20)
    redis.kill()
    senders.each_takes(150)
    redis.start()
    eventually(lambda: booked_seconds(redis) > 0, "permits are booked again")
    senders.each_takes(100)
    senders.kept_to(100, events=2)


def test_redis_may_freeze_and_thaw(redis: Redis, start: Start) -> None:
    senders = start(2, redis.url, messages_a_second="100")
    senders.each_takes(20)
    redis.freeze()
    senders.each_takes(150)
    redis.thaw()
    eventually(lambda: booked_seconds(redis) > 0, "permits are booked again")
    senders.each_takes(100)
    senders.kept_to(100, events=2)


def test_redis_may_forget_everything(redis: Redis, start: Start) -> None:
    senders = start(2, redis.url, messages_a_second="100")
    for _ in range(3):
        senders.each_takes(50)
        redis.flush()
    senders.each_takes(50)
    senders.kept_to(100, events=3)


@pytest.mark.processes
def test_without_redis_one_process_keeps_to_the_limit(start: Start) -> None:
    senders = start(1, messages_a_second="200")
    senders.each_takes(300)
    senders.kept_to(200)


@pytest.mark.processes
def test_with_redis_away_from_the_start_a_process_keeps_to_the_limit(start: Start) -> None:
    senders = start(1, f"redis://127.0.0.1:{free_port()}/0", messages_a_second="200")
    senders.each_takes(300)
    senders.kept_to(200)


def test_connections_are_shared_by_all_who_live(redis: Redis, start: Start) -> None:
    senders = start(3, redis.url, messages_a_second="200", relay_connections="10")
    eventually(lambda: senders.connections() == [3, 3, 4], "all three have heard of each other")
    senders.processes[0].kill()
    eventually(lambda: senders.connections() == [5, 5], "the dead one is forgotten")
    senders.processes[1].stop()
    eventually(lambda: senders.connections() == [10], "the other has left")


# The fixture is emptied for each example.
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 300), st.integers(1, 40))
def test_shares_are_fair_and_make_a_whole(redis: Redis, whole: int, processes: int) -> None:
    redis.flush()
    shared = [SharedRateLimit(redis.url, None, whole) for _ in range(processes)]
    # Whoever holds too many hears of the others first, and then they get the rest.
    for _ in range(3):
        granted = [one.heartbeat(0).connections for one in shared]
    assert sum(granted) == max(whole, processes)
    assert max(granted) - min(granted) <= 1
    assert min(granted) >= 1


def test_without_a_limit_a_process_holds_the_connections_it_wants() -> None:
    assert paced(connections="7").connections == 7


def test_without_redis_the_limit_of_connections_is_that_of_the_process() -> None:
    assert paced(connections="16", relay_connections="10").connections == 10
    assert paced(connections="7", relay_connections="10").connections == 7


def test_a_process_holds_no_connection_until_it_has_heard_of_the_others(redis: Redis) -> None:
    async def hear() -> tuple[int, int]:
        send_rate = paced(redis.url, relay_connections="10")
        first = send_rate.connections
        chore = asyncio.create_task(send_rate.run())
        await asyncio.to_thread(eventually, lambda: send_rate.connections > 1)
        await ended(chore)
        return first, send_rate.connections

    assert asyncio.run(hear()) == (0, 10)


def test_a_process_that_was_granted_none_sends_when_redis_goes_away(redis: Redis) -> None:
    async def lose_redis() -> list[int]:
        other = SharedRateLimit(redis.url, None, 10)
        other.open = 10
        other.heartbeat(0)
        send_rate = paced(redis.url, relay_connections="10")
        chore = asyncio.create_task(send_rate.run())
        await asyncio.to_thread(eventually, lambda: other.heartbeat(0).processes > 1)
        granted = [send_rate.connections]
        redis.stop()
        await asyncio.to_thread(eventually, lambda: send_rate.connections > 0)
        await ended(chore)
        return [*granted, send_rate.connections]

    assert asyncio.run(lose_redis())[0] == 0


def test_with_redis_away_from_the_start_it_holds_what_it_may_alone() -> None:
    async def hear() -> int:
        send_rate = paced(f"redis://127.0.0.1:{free_port()}/0", relay_connections="10")
        chore = asyncio.create_task(send_rate.run())
        await asyncio.to_thread(eventually, lambda: send_rate.connections > 1)
        await ended(chore)
        return send_rate.connections

    assert asyncio.run(hear()) == 10


def test_without_limits_a_permit_costs_nothing() -> None:
    send_rate = paced(f"redis://127.0.0.1:{free_port()}/0")
    with pytest.raises(StopIteration):
        send_rate.permit().send(None)


def test_a_message_that_waits_for_its_turn_does_not_leave_when_the_process_does() -> None:
    async def leave() -> bool:
        shutdown = asyncio.Event()
        seldom = environment(messages_a_second=SELDOM)
        send_rate = SendRate(Settings.from_environment(seldom), shutdown)
        waiting = asyncio.create_task(send_rate.permit())
        await asyncio.sleep(0)
        shutdown.set()
        return await waiting

    assert not asyncio.run(leave())


def test_after_a_relay_backoff_even_the_first_message_waits() -> None:
    async def begin_slowly() -> bool:
        send_rate = paced()
        send_rate.start_again(None)
        waiting = asyncio.create_task(send_rate.permit())
        await asyncio.sleep(0)
        waiting.cancel()
        return waiting.done()

    assert not asyncio.run(begin_slowly())


def test_the_log_says_once_that_the_rate_is_held_back_and_once_that_it_is_not(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = VirtualClock()
    monkeypatch.setattr(time, "monotonic", clock.monotonic)
    send_rate = paced(messages_a_second="1.1")
    accept = partial(send_rate.answered, accepted=True, throttled=False)
    for second in range(5):
        clock.seconds = float(second)
        send_rate.start_again(None) if second < 2 else accept()
    assert caplog.messages == [
        "The relay wants less: 1 messages a second now.",
        "The relay takes all again: at full speed.",
    ]


def test_what_one_process_finds_out_about_the_relay_serves_all(redis: Redis) -> None:
    async def find_out() -> list[bool]:
        first, second = paced(redis.url), paced(redis.url)
        chores = [asyncio.create_task(one.run()) for one in (first, second)]
        numbers = itertools.count()

        def both_are_held_back() -> bool:
            # All are answered to one of them, whichever sets the rate: a quarter is accepted.
            accepted = next(numbers) % 4 == 0
            second.answered(accepted=accepted, throttled=not accepted)
            return bool(first.adaptive and second.adaptive)

        await until(both_are_held_back)
        await ended(chores[0])
        third = paced(redis.url)
        chores.append(asyncio.create_task(third.run()))
        await until(lambda: third.adaptive is not None)
        await ended(chores[1])
        # Alone now, it knows what the others had found.
        permitted = await third.permit()
        await ended(chores[2])
        return [permitted, third.adaptive is not None]

    assert asyncio.run(find_out()) == [True, True]


def test_a_slow_start_is_one_for_all_processes(redis: Redis) -> None:
    async def begin_slowly() -> None:
        processes = [paced(redis.url) for _ in range(3)]
        chores = [asyncio.create_task(one.run()) for one in processes]
        await asyncio.sleep(0.1)
        processes[1].start_again(None)
        await until(lambda: all(one.adaptive is not None for one in processes))
        for chore in chores:
            await ended(chore)

    asyncio.run(begin_slowly())


def test_a_process_that_joins_a_slow_start_goes_on_rising(redis: Redis) -> None:
    async def join() -> None:
        processes = [paced(redis.url)]
        chores = [asyncio.create_task(processes[0].run())]
        await until(lambda: processes[0].connections > 0)
        processes[0].start_again(None)
        # One of them is the first by name, and sets the rate from then on.
        for _ in range(5):
            await asyncio.sleep(0.3)
            processes.append(paced(redis.url))
            chores.append(asyncio.create_task(processes[-1].run()))

        def rises() -> bool:
            for one in processes:
                one.answered(accepted=True, throttled=False)
            return any((one.adaptive or 0) > 4 for one in processes)

        await until(rises)
        for chore in chores:
            await ended(chore)

    asyncio.run(join())


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so, while the event loop goes on."""
    async with asyncio.timeout(120):
        while not condition():
            await asyncio.sleep(0.01)


def test_the_second_waits_its_turn_in_every_process(redis: Redis) -> None:
    async def take() -> list[bool]:
        here, there = (paced(redis.url, messages_a_second=SELDOM) for _ in range(2))
        await here.permit()
        others = [asyncio.create_task(one.permit()) for one in (here, there)]
        await asyncio.to_thread(eventually, lambda: booked_seconds(redis) > 150)
        for task in others:
            task.cancel()
        return [task.done() for task in others]

    assert asyncio.run(take()) == [False, False]


def test_what_was_booked_alone_is_made_room_for_when_redis_is_back(redis: Redis) -> None:
    async def wait_through_an_absence() -> bool:
        send_rate = paced(redis.url, messages_a_second=SELDOM, relay_connections="10")
        redis.stop()
        waiting = asyncio.create_task(send_rate.permit())
        chore = asyncio.create_task(send_rate.run())
        await asyncio.to_thread(eventually, lambda: send_rate.connections == 10)
        redis.start()
        await asyncio.to_thread(eventually, lambda: booked_seconds(redis) > 50)
        early = waiting.done()
        await ended(chore)
        await ended(waiting)
        return early

    assert not asyncio.run(wait_through_an_absence())


def test_letters_wait_for_nobody_and_releases_make_room(redis: Redis) -> None:
    async def send_a_letter() -> None:
        send_rate = paced(redis.url, messages_a_second=SELDOM)
        chore = asyncio.create_task(send_rate.run())
        await asyncio.sleep(0)
        send_rate.spend()
        await ended(chore)

    asyncio.run(send_a_letter())
    assert SharedRateLimit(redis.url, float(SELDOM)).take(0).seconds > 50


async def ended(chore: asyncio.Task[Any]) -> None:
    """Cancel a chore and wait for its end."""
    chore.cancel()
    with suppress(asyncio.CancelledError):
        await chore
