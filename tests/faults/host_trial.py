"""A trial on four hosts: two with a worker, the database's with Redis and web, the relay's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from mailer.storage.migrations import upgrade
from tests.faults.hosts import Host, Network
from tests.faults.trial import LONG, QUICK, Trial
from tests.servers import EVERYWHERE, LOOPBACK, PostgreSQL, Redis
from tests.service import Service, contract
from tests.support.relay_process import RelayProcess
from tests.support.trial import Parts

# Slow, so that one host alone does not reach the end during a cut.
_DELAY = 1 / 3


class FarRelay(RelayProcess):
    """A relay that others reach from their hosts."""

    LISTEN = EVERYWHERE


@dataclass(frozen=True, kw_only=True)
class HostParts(Parts):
    """What a trial on hosts is made of."""

    network: Network

    @classmethod
    @contextmanager
    def laid(cls, folder: Path) -> Iterator[Self]:
        """Lay the network and start the servers; this thread is then the database's host."""
        with ExitStack() as stack:
            network = stack.enter_context(Network.of("first", "second", "database", "relay"))
            stack.enter_context(network.host("database").entered())
            postgresql = stack.enter_context(PostgreSQL.running(EVERYWHERE, fsync=LONG))
            redis = stack.enter_context(Redis.running(EVERYWHERE))
            url = postgresql.create_database("mailer")
            upgrade(url)
            yield cls(url, folder, redis, postgresql, network=network)


class HostTrial(Trial):
    """Releases that two hosts send, one of which, drawn by lot, may be cut off."""

    def __init__(
        self, parts: HostParts, service: Service, relay: RelayProcess, seed: str, number: int
    ) -> None:
        super().__init__(parts, service, relay, seed, number)
        self.network = parts.network
        self.database, self.relay_host = map(parts.network.host, ("database", "relay"))
        self.workers = [parts.network.host(name) for name in ("first", "second")]
        self.victim = self.chance.choice(self.workers)
        self.environment = _seen_from_elsewhere(service.environment, self.database)
        self.at_the_end = ExitStack()
        """What stands until the trial is over."""

    @classmethod
    @contextmanager
    def running(
        cls,
        parts: Parts,
        settings: Mapping[str, str],
        seed: str,
        number: int,
        relay_class: type[RelayProcess] = FarRelay,
    ) -> Iterator[Self]:
        """Set up the relay, the web and a worker on each of two hosts, and followers."""
        assert isinstance(parts, HostParts)
        there = parts.network.host("relay")
        with ExitStack() as stack:
            with there.entered():
                relay = stack.enter_context(relay_class.open(parts.folder, seed, _DELAY))
            places = contract(
                database_url=parts.database_url,
                redis_url=parts.redis.url,
                smtp_url=f"smtp://{there.address}:{relay.port}",
            )
            variables = {**places, **QUICK, **settings}
            service = stack.enter_context(Service.running(variables, parts.folder, ("web",)))
            trial = cls(parts, service, relay, seed, number)
            for host in trial.workers:
                with host.entered():
                    stack.enter_context(trial._workers(host))
            stack.enter_context(trial.at_the_end)
            yield trial

    def moments(self, number: int) -> list[int]:
        """Draw moments early enough for a cut to end before the release does."""
        return sorted(self.chance.sample(range(1, self.number // 4), number))

    def sent_by_victim(self) -> int:
        """Count what the relay has taken from the host that is cut off."""
        return sum(entry.client == self.victim.address for entry in self.relay.entries())

    @contextmanager
    def _workers(self, host: Host) -> Iterator[None]:
        folder = self.parts.folder / host.name
        folder.mkdir()
        with Service.running(self.environment, folder, ("releases", "sweep")):
            yield


def _seen_from_elsewhere(environment: Mapping[str, str], database: Host) -> dict[str, str]:
    """Give the environment on another host, where the database's is not on loopback."""
    names = ("DATABASE_URL", "REDIS_URL")
    elsewhere = {name: environment[name].replace(LOOPBACK, database.address) for name in names}
    return {**environment, **elsewhere}
