"""Hosts: network namespaces of this machine on one switch, whose cables can be pulled."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.processes import alive
from tests.servers import find_program

_NAMESPACES = Path("/run/netns")
_CLONE_NEWNET = 0x40000000
_PREFIX = "mailer-hosts"


@dataclass(frozen=True)
class Host:
    """One host: a network namespace with one address, and a loopback of its own."""

    name: str
    number: int

    @property
    def address(self) -> str:
        """Its address on the switch."""
        return f"10.77.0.{self.number}"

    @property
    def hardware_address(self) -> str:
        """The MAC address of its network card."""
        return f"02:00:00:00:00:{self.number:02x}"

    @property
    def namespace(self) -> str:
        """The name of its namespace, which also says whose it is."""
        return f"{_PREFIX}-{os.getpid()}-{self.name}"

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Be on this host: what this thread connects, binds and starts meanwhile is there."""
        with ExitStack() as stack:
            back, there = (
                os.fdopen(os.open(path, os.O_RDONLY))
                for path in (Path("/proc/thread-self/ns/net"), _NAMESPACES / self.namespace)
            )
            stack.enter_context(back)
            stack.enter_context(there)
            _set_namespace(there.fileno())
            try:
                yield
            finally:
                _set_namespace(back.fileno())


class Network:
    """Hosts on one switch, which has a namespace too, so that the machine's own net is as before.

    Cuts are silent, as behind a router: who is cut off hears nothing, not even that nobody
    answers for the other's address.
    """

    def __init__(self, *names: str) -> None:
        self.hosts = [Host(name, number) for number, name in enumerate(names, start=1)]
        self._switch = Host("switch", 0).namespace

    @classmethod
    @contextmanager
    def of(cls, *names: str) -> Iterator[Self]:
        """Lay a network with a host for each name, and remove it at the end."""
        assert os.geteuid() == 0, "hosts are network namespaces, which only root can make"
        _clear_away()
        network = cls(*names)
        try:
            network._lay()
            yield network
        finally:
            network._remove()

    def host(self, name: str) -> Host:
        """Give a host by its name."""
        return next(host for host in self.hosts if host.name == name)

    @contextmanager
    def unplugged(self, host: Host) -> Iterator[None]:
        """Pull the cable of one host: nothing comes or goes."""
        self._cable(host, "down")
        try:
            yield
        finally:
            self._cable(host, "up")

    @contextmanager
    def parted(self, one: Host, other: Host) -> Iterator[None]:
        """Let nothing through between two hosts, while each reaches all the rest."""
        # The switch carries nothing between two ports that are isolated, and all between others.
        self._isolate("on", one, other)
        try:
            yield
        finally:
            self._isolate("off", one, other)

    def _lay(self) -> None:
        _run("ip", "netns add", self._switch)
        _run("ip", "-n", self._switch, "link add switch up type bridge")
        for host in self.hosts:
            _run("ip", "netns add", host.namespace)
            _run(
                *("ip", "-n", self._switch, "link add", host.name, "up master switch type veth"),
                *("peer name eth0 address", host.hardware_address, "netns", host.namespace),
            )
            _run("ip", "-n", host.namespace, "link set lo up")
            _run("ip", "-n", host.namespace, "address add", f"{host.address}/24", "dev eth0")
            _run("ip", "-n", host.namespace, "link set eth0 up")
            for other in self.hosts:
                _run(
                    *("ip", "-n", host.namespace, "neighbour add", other.address),
                    *("lladdr", other.hardware_address, "dev eth0 nud permanent"),
                )

    def _remove(self) -> None:
        for namespace in [*(host.namespace for host in self.hosts), self._switch]:
            with suppress(subprocess.CalledProcessError):
                _run("ip", "netns delete", namespace)

    def _cable(self, host: Host, state: str) -> None:
        _run("ip", "-n", self._switch, "link set", host.name, state)

    def _isolate(self, state: str, *hosts: Host) -> None:
        for host in hosts:
            _run("bridge", "-n", self._switch, "link set dev", host.name, "isolated", state)


def _set_namespace(descriptor: int) -> None:
    """Move this thread; `os.setns` comes with Python 3.12."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def _clear_away() -> None:
    """Remove what a run left behind that was killed; its processes died with it."""
    for path in _NAMESPACES.glob(f"{_PREFIX}-*"):
        if not alive(int(path.name.removeprefix(f"{_PREFIX}-").partition("-")[0])):
            with suppress(subprocess.CalledProcessError):
                _run("ip", "netns delete", path.name)


def _run(program: str, *words: str) -> None:
    """Run a program of iproute2; its words may be given several at a time."""
    command = [find_program(program), *" ".join(words).split()]
    subprocess.run(command, check=True, capture_output=True, text=True)
