"""The HTTP proxy between two connections without TLS: a guest's, and that of a port of this host."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from pyro_mcp.network.http import http_proxy
from pyro_mcp.network.http.http_proxy import HttpProxy, Site
from pyro_mcp.network.http.plain_socket import PlainSocket
from pyro_mcp.network.policy.request_rule import RequestRule
from pyro_mcp.redaction import Mask

HOST = "model.internal"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


@contextmanager
def proxied(*rules: RequestRule) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Yield the guest's end of a connection through the proxy, and the site's end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        guest = socket.create_connection(listener.getsockname(), 10)
        accepted, _ = listener.accept()
        to_site, site = socket.socketpair()
    with guest, site:
        site.settimeout(10)
        sock = PlainSocket(accepted)
        proxy = HttpProxy(sock, Site(HOST, 80, [], Mask({}), rules, lambda *_: ""), lambda: PlainSocket(to_site))

        def run() -> None:
            proxy.run()
            sock.close()

        running = threading.Thread(target=run, daemon=True)
        running.start()
        yield guest, site
    running.join(10)
    assert not running.is_alive()
    to_site.close()  # the proxy has not, if it never asked for it


def received(sock: socket.socket, end: bytes) -> bytes:
    data = b""
    while not data.endswith(end) and (piece := sock.recv(65536)):
        data += piece
    return data


def test_a_client_that_ends_its_side_after_its_request_gets_the_answer() -> None:
    with proxied() as (guest, site):
        guest.sendall(f"GET /x HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        assert received(site, b"\r\n\r\n").startswith(b"GET /x ")
        guest.shutdown(socket.SHUT_WR)
        site.settimeout(0.3)
        with pytest.raises(TimeoutError):  # the proxy keeps the connection to the site
            site.recv(1)
        site.sendall(ANSWER)
        assert received(guest, b"hello") == ANSWER


def test_a_client_that_is_gone_ends_the_connection_to_the_site() -> None:
    with proxied() as (guest, site):
        guest.sendall(f"GET /x HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        received(site, b"\r\n\r\n")
        guest.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        guest.close()
        assert site.recv(1) == b""


def test_a_slow_header_is_refused_however_steadily_it_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_proxy, "_HEAD_SECONDS", 0.5)
    with proxied() as (guest, _):
        guest.sendall(f"GET /x HTTP/1.1\r\nHost: {HOST}\r\n".encode())
        answered = b""
        guest.settimeout(0.05)
        end = time.monotonic() + 20
        while not answered and time.monotonic() < end:
            with suppress(OSError):  # after the answer nobody reads any more
                guest.sendall(b"X: y\r\n")
            with suppress(TimeoutError):
                answered = guest.recv(65536)
        assert answered.startswith(b"HTTP/1.1 408 "), answered


@pytest.mark.parametrize(("rules", "passed"), [((), True), ((RequestRule(("POST",)),), False)])
def test_trailers_do_not_reach_a_site_with_rules(rules: tuple[RequestRule, ...], passed: bool) -> None:
    with proxied(*rules) as (guest, site):
        head = f"POST /x HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n"
        guest.sendall(f"{head}2\r\nhi\r\n0\r\nX-HTTP-Method-Override: DELETE\r\n\r\n".encode())
        end = b"DELETE\r\n\r\n" if passed else b"0\r\n\r\n"
        assert received(site, end).endswith(end)
        site.sendall(ANSWER)
        assert received(guest, b"hello") == ANSWER
