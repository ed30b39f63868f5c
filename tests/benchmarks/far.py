"""A relay that is far away: hands every byte on both ways, each after the same delay.

python -m tests.benchmarks.far PORT TARGET_PORT SECONDS
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from typing import cast


class _End(asyncio.Protocol):
    """One end of a connection, whose bytes leave by the other end, later and in order."""

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._under_way: deque[bytes | None] = deque()
        self.other: _End | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._send(data)

    def connection_lost(self, _error: Exception | None) -> None:
        self._send(None)

    def _send(self, data: bytes | None) -> None:
        self._under_way.append(data)
        asyncio.get_running_loop().call_later(self._delay, self._arrive)

    def _arrive(self) -> None:
        data = self._under_way.popleft()
        assert self.other is not None
        assert self.other.transport is not None
        if data is None:
            self.other.transport.close()
        else:
            self.other.transport.write(data)


class _Door(_End):
    """The end a client comes to; the way to the target is opened at once, and takes no time."""

    def __init__(self, target: int, delay: float) -> None:
        super().__init__(delay)
        self._target = target

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._opening = asyncio.create_task(self._open())

    async def _open(self) -> None:
        far_end = _End(self._delay)
        far_end.other = self
        self.other = far_end
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: far_end, "127.0.0.1", self._target)
        except OSError:
            # Whoever came would wait for a greeting, and nobody would know why.
            assert self.transport is not None
            self.transport.abort()


async def _serve(port: int, target: int, delay: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Door(target, delay), "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
