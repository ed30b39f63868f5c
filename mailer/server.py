"""The web server: a worker of gunicorn in which waitress reads each request whole.

One thread reads all connections, and another one sees a request only when its body has come, so
that a slow connection holds up no other. Here are their deadlines, and how many a network may have.
"""

from __future__ import annotations

import logging
import os
import resource
import time
from functools import partial
from typing import Any

from gunicorn.workers.base import Worker
from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.server import BaseWSGIServer, create_server
from waitress.task import ErrorTask

from mailer.web.request_checks import network

HEADER_SECONDS, REQUEST_SECONDS = 20, 60
"""How long a whole header may take, and a whole request with the reading of its answer."""
CONNECTIONS_OF_A_NETWORK = 200
_CONNECTIONS = 4_000
_HEADER_OCTETS, _BODY_OCTETS = 32 * 1024, 4 * 1024 * 1024
_LOOK_SECONDS = 1.0
_LEFT_TO_OTHERS_SECONDS = 0.0001
"""How much longer a process leaves a new connection to others for each that it has, up to ten."""


class WebWorker(Worker):
    """Serves gunicorn's sockets by waitress until a signal comes."""

    def run(self) -> None:
        """Serve, and close what is late each second; then let what was begun end."""
        channels: dict[int, Any] = {}
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        # It would say at each burst how many requests wait.
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)
        dispatcher = self._serve(channels)
        # Without the process that started it, nothing would ever stop this one.
        while self.alive and os.getppid() == self.ppid:
            self._look(channels)
        for server in _servers(channels):
            server.del_channel()
        until = time.monotonic() + self.cfg.graceful_timeout
        while any(_channels(channels)) and time.monotonic() < until:
            self._look(channels)
            for one in _channels(channels):
                one.will_close |= one.is_idle
        dispatcher.shutdown(timeout=1)

    def _serve(self, channels: dict[int, Any]) -> Any:
        """Add servers to the channels, and return what they give requests to."""
        create_server(
            self.wsgi,
            map=channels,
            sockets=[one.sock for one in self.sockets],
            threads=self.cfg.threads,
            ident="mailer",
            connection_limit=_CONNECTIONS,
            channel_timeout=HEADER_SECONDS,
            cleanup_interval=1,
            max_request_header_size=_HEADER_OCTETS,
            max_request_body_size=_BODY_OCTETS,
            # The application reads them, as MAILER_TRUSTED_PROXIES says.
            clear_untrusted_proxy_headers=False,
        )
        # Behind a proxy, all come from one address: it limits them itself.
        direct = os.environ.get("MAILER_TRUSTED_PROXIES", "0") in ("", "0")
        most = CONNECTIONS_OF_A_NETWORK if direct else _CONNECTIONS
        for server in _servers(channels):
            server.channel_class = partial(_Channel, most)
            server.handle_accept = partial(_accept, server)
            dispatcher = server.task_dispatcher
        return dispatcher

    def _look(self, channels: dict[int, Any]) -> None:
        self.notify()
        wasyncore.loop(timeout=_LOOK_SECONDS, use_poll=True, map=channels, count=1)
        now = time.monotonic()
        for one in _channels(channels):
            one.will_close |= one.is_late(now)


def _accept(server: Any) -> None:
    """Accept a connection, unless a process with fewer of them has done so first.

    All wait for the same socket, and without this the one that is awake would take every connection
    of a burst.
    """
    time.sleep(_LEFT_TO_OTHERS_SECONDS * min(len(server.active_channels), 10))
    BaseWSGIServer.handle_accept(server)


class _Error(ErrorTask):
    """Answers a request that cannot be read, in a sentence of ours."""

    def execute(self) -> None:
        """Answer, without the words of waitress."""
        self.request.error.body = "This server cannot read the request."
        super().execute()


class _Channel(HTTPChannel):
    """A connection, which is closed when it is late, or one too many of its network."""

    error_task_class = _Error

    def __init__(
        self, most: int, server: Any, sock: Any, addr: Any, *how: Any, **more: Any
    ) -> None:
        super().__init__(server, sock, addr, *how, **more)
        self._since = time.monotonic()
        self.network = network(addr[0])
        others = (one.network == self.network for one in server.active_channels.values())
        if self.network is not None and sum(others) > most:
            self.will_close = True

    @property
    def is_idle(self) -> bool:
        """Whether no request has begun whose answer is not yet sent."""
        return self.request is None and not self.requests and not self.total_outbufs_len

    def received(self, data: bytes) -> bool:
        """Note when a request begins."""
        if self.is_idle:
            self._since = time.monotonic()
        return bool(super().received(data))

    def is_late(self, now: float) -> bool:
        """Tell whether a deadline has passed; while a request is answered, there is none.

        A connection that is silent for as long as a header may take is closed by waitress.
        """
        if self.requests or self.is_idle:
            return False
        in_header = self.request is not None and not self.request.headers_finished
        return now - self._since > (HEADER_SECONDS if in_header else REQUEST_SECONDS)


def _servers(channels: dict[int, Any]) -> list[Any]:
    return [one for one in channels.values() if isinstance(one, BaseWSGIServer)]


def _channels(channels: dict[int, Any]) -> list[_Channel]:
    return [one for one in channels.values() if isinstance(one, _Channel)]
