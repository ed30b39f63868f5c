"""The web process itself: slow connections, requests that cannot be read, and its end."""

from __future__ import annotations

import re
import select
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from mailer.server import CONNECTIONS_OF_A_NETWORK
from tests.conftest import Databases
from tests.processes import alive, eventually
from tests.service import Service, contract
from tests.support.press_room import SLUG, open_press_room

HEAD = f"GET /{SLUG}/ HTTP/1.1\r\nHost: 127.0.0.1\r\n"
FORM = (
    f"POST /{SLUG}/follow HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    "Content-Type: application/x-www-form-urlencoded\r\n"
)
BEGINNINGS = {
    "header": f"{HEAD}X-Slow: ",
    "body": f"{FORM}Content-Length: 9000\r\n\r\naddress=",
    "reading": f"{HEAD}\r\n",
}
ADDRESS = "canary-by-wire@example.org"


@pytest.fixture(scope="module")
def web(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The web process of the Procfile, one for all tests that harm nobody."""
    folder = tmp_path_factory.mktemp("web")
    with databases.fresh("sqlite") as url:
        environment = contract(database_url=url, redis_url="", smtp_url="smtp://127.0.0.1:9")
        with open_press_room(url, **environment):
            pass
        with Service.running(environment, folder, ("web",)) as service:
            yield service


def connect(web: Service, source: str = "127.0.0.1") -> socket.socket:
    port = urlsplit(web.url).port
    return socket.create_connection(("127.0.0.1", port), timeout=60, source_address=(source, 0))


def answer(connection: socket.socket) -> str:
    """Read until the other side closes, or says that it will not read the rest."""
    pieces = []
    with suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            pieces.append(piece)
    return b"".join(pieces).decode()


def ask(web: Service, request: str, source: str = "127.0.0.1") -> str:
    """Send a whole request, and return the answer as it is written."""
    with closing(connect(web, source)) as connection:
        connection.sendall(request.encode())
        return answer(connection)


def is_closed(connection: socket.socket) -> bool:
    """Tell whether the other side has closed, and read what it said before."""
    while select.select([connection], [], [], 0)[0]:
        try:
            if not connection.recv(65536):
                return True
        except OSError:
            return True
    return False


def from_networks(number: int) -> list[str]:
    """Name so many addresses, of as many networks as loopback has for them."""
    return [f"127.0.{1 + one % 200}.{1 + one // 200}" for one in range(number)]


@pytest.mark.parametrize("slow", BEGINNINGS)
def test_visitors_are_answered_beside_a_thousand_slow_connections(web: Service, slow: str) -> None:
    with ExitStack() as open_connections:
        for source in from_networks(1_000):
            connection = open_connections.enter_context(closing(connect(web, source)))
            connection.sendall(BEGINNINGS[slow].encode())
        for _ in range(5):
            page = ask(web, f"{HEAD}Connection: close\r\n\r\n", "127.1.0.1")
            assert page.startswith("HTTP/1.1 200 ")


@pytest.mark.parametrize("slow", ["header", "body"])
def test_who_sends_too_slowly_is_cut_off(web: Service, slow: str) -> None:
    with closing(connect(web)) as connection:
        connection.sendall(BEGINNINGS[slow].encode())

        def cut_off() -> bool:
            if is_closed(connection):
                return True
            connection.sendall(b"a")
            time.sleep(0.5)
            return False

        eventually(cut_off, "the connection is closed", patience=90)


def test_one_network_has_so_many_connections_and_another_one_its_own(web: Service) -> None:
    processes = 2
    with ExitStack() as open_connections:
        held = [
            open_connections.enter_context(closing(connect(web, "127.2.0.9")))
            for _ in range(processes * CONNECTIONS_OF_A_NETWORK + 50)
        ]
        eventually(lambda: sum(map(is_closed, held)) >= 50, "the fifty are closed")
        with closing(connect(web, "127.1.0.1")) as other:
            other.sendall(f"{HEAD}Connection: close\r\n\r\n".encode())
            assert answer(other).startswith("HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        (f"GET /unsubscribe/{ADDRESS}?utm=\u00e5 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", None),
        (f"GET  /unsubscribe/{ADDRESS}  HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 400),
        (f"GET /{SLUG}/ HTTP/1.1\r\nHost: 127.0.0.1\r\nX {ADDRESS}: a\r\n\r\n", 400),
        (f"{FORM}Transfer-Encoding: chunked\r\n\r\naddress={ADDRESS}\r\n", 400),
        (f"{FORM}Transfer-Encoding: chunked\r\n\r\n5\r\n{ADDRESS}\r\n", 400),
        (f"{FORM}Content-Length: {ADDRESS}\r\n\r\n", 400),
        (f"{HEAD}X-Long: {'a' * 33_000}\r\n\r\n", 431),
        (f"{FORM}Content-Length: 5000000\r\n\r\n", 413),
    ],
    ids=["raw", "spaces", "header", "size", "chunk", "length", "long", "large"],
)
def test_what_cannot_be_read_is_answered_and_not_logged(
    web: Service, request_text: str, status: int | None
) -> None:
    written = request_text.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1)
    said = ask(web, written)
    # A header that is too long is not read to its end, and the answer may get lost.
    assert re.match(rf"HTTP/1\.[01] {status or '4..'} ", said) or (status == 431 and not said)
    assert "waitress" not in said
    assert "Traceback" not in said
    assert ADDRESS not in web.log("web")
    assert "canary-by-wire" not in web.log("web")


@pytest.mark.parametrize("name", ["SCRIPT_NAME", "SCRIPT-NAME", "Script_Name"])
@pytest.mark.parametrize("path", [f"/{SLUG}/", f"/{SLUG}"])
def test_no_link_leads_where_a_header_says(web: Service, name: str, path: str) -> None:
    def page(header: str) -> str:
        request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{header}Connection: close\r\n\r\n"
        return re.sub(r"Date: .*", "", ask(web, request))

    assert page(f"{name}: //evil.example\r\n") == page("")


def test_the_processes_end_with_the_one_that_started_them(
    databases: Databases, tmp_path: Path
) -> None:
    with databases.fresh("sqlite") as url:
        environment = contract(database_url=url, redis_url="", smtp_url="smtp://127.0.0.1:9")
        service = Service(environment, tmp_path)
        try:
            service.start("web")
            children = service.processes["web"].children
            assert children
            service.kill("web", signal.SIGKILL)
            eventually(lambda: not any(map(alive, children)), "they have ended")
        finally:
            service.abandon()


def test_a_request_that_has_begun_is_answered_before_the_end(
    databases: Databases, tmp_path: Path
) -> None:
    with databases.fresh("sqlite") as url:
        environment = contract(database_url=url, redis_url="", smtp_url="smtp://127.0.0.1:9")
        with open_press_room(url, **environment):
            pass
        with (
            Service.running(environment, tmp_path, ("web",)) as service,
            closing(connect(service)) as connection,
            closing(connect(service)) as idle,
        ):
            for one in (connection, idle):
                # So that they have been accepted, and are more than a wish.
                one.sendall(f"{HEAD}\r\n".encode())
                page = b""
                while b"</html>" not in page:
                    page += one.recv(65536)
            connection.sendall(HEAD.encode())
            service.processes["web"].signal(signal.SIGTERM)
            eventually(lambda: is_closed(idle), "whoever sends nothing is closed")
            connection.sendall(b"Connection: close\r\n\r\n")
            assert answer(connection).startswith("HTTP/1.1 200 ")
            assert service.processes["web"].wait() == 0
