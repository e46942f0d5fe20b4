"""Streams through our proxy: events arrive when they are sent, and WebSockets pass both ways."""

from __future__ import annotations

import ssl
import threading
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyro_mcp.redaction import Mask
from tests.network.tls_site import HOST, SECRET, VALUE, Web

PLACEHOLDER = SECRET.placeholder
NAMED = VALUE.encode()
UPGRADE = (
    f"GET /socket HTTP/1.1\r\nHost: {HOST}\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    "Sec-WebSocket-Extensions: permessage-deflate\r\n"
    f"Authorization: Bearer {PLACEHOLDER}\r\n\r\n"
).encode()
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
def web(tmp_path: Path) -> Web:
    return Web(tmp_path)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def until(line: ssl.SSLSocket, wanted: bytes) -> bytes:
    """Read until `wanted` is in what was received; return all of it."""
    received = b""
    while wanted not in received:
        piece = line.recv(65536)
        assert piece, received
        received += piece
    return received


@pytest.mark.parametrize("end", [b'"}', b"s", b"sk", NAMED[:5]])
def test_an_event_arrives_before_the_next_is_sent(web: Web, end: bytes) -> None:
    arrived = threading.Event()

    def stream(host: ssl.SSLSocket) -> None:
        host.sendall(EVENTS)
        for number in range(5):
            arrived.clear()
            host.sendall(chunk(b"data: %d %b\n\n" % (number, end)))
            assert arrived.wait(20)
        host.sendall(b"0\r\n\r\n")

    with web.line(dial=web.dial_to(stream)) as line:
        line.sendall(f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        for number in range(5):
            until(line, b"data: %d %b\n\n" % (number, end))
            arrived.set()
        until(line, b"0\r\n\r\n")


def test_a_secret_in_an_event_is_taken_out_wherever_it_is_cut(web: Web) -> None:
    def stream(host: ssl.SSLSocket) -> None:
        host.sendall(EVENTS)
        for place in range(1, len(NAMED), 7):
            host.sendall(chunk(b"data: " + NAMED[:place]) + chunk(NAMED[place:] + b"\n\n"))
        host.sendall(b"0\r\n\r\n")

    with web.line(dial=web.dial_to(stream)) as line:
        line.sendall(f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        received = until(line, b"0\r\n\r\n")
    assert NAMED[6:] not in received and received.count(b"data: ") == len(range(1, len(NAMED), 7))


def test_a_websocket_passes_both_ways_and_the_secret_only_to_the_host(web: Web) -> None:
    def echo(host: ssl.SSLSocket) -> None:
        host.sendall(SWITCH)
        while piece := host.recv(65536):
            host.sendall(piece + (b" " + NAMED + b"." if piece == b"show" else b""))

    with web.line(dial=web.dial_to(echo)) as line:
        line.sendall(UPGRADE[:30])
        line.sendall(UPGRADE[30:])
        answer = until(line, b"\r\n\r\n").lower()
        assert answer.startswith(b"http/1.1 101") and b"upgrade: websocket\r\n" in answer
        for message in (b"s", b"\x81\x05hello", b"\x00\xff" * 3000, b"sk"):
            line.sendall(message)
            assert until(line, message) == message
        line.sendall(b"show")
        shown = until(line, b"show ")
        shown += b"" if shown.endswith(b".") else until(line, b".")
        assert NAMED[6:] not in shown and len(shown) == len(b"show .") + len(NAMED)


def test_a_declined_websocket_is_an_answer_and_the_next_request_is_looked_at(web: Web) -> None:
    with web.line() as line:
        line.sendall(UPGRADE + b"GET / HTTP/1.1\r\nHost: other.example.com\r\n\r\n")
        answered = b"".join(iter(lambda: line.recv(65536), b""))
    assert answered.startswith(b"HTTP/1.1 200 ") and b"HTTP/1.1 421 " in answered
    ((asked, _),) = web.asked
    assert asked["headers"]["Upgrade"] == "websocket" and asked["headers"]["Connection"] == "Upgrade"
    assert asked["headers"]["Authorization"] == f"Bearer {VALUE}"
    assert "Sec-WebSocket-Extensions" not in asked["headers"]


BAD = {
    "another method": UPGRADE.replace(b"GET", b"POST"),
    "a body": UPGRADE.replace(b"\r\n\r\n", b"\r\nContent-Length: 1\r\n\r\nx"),
    "two protocols": UPGRADE.replace(b"Upgrade: websocket", b"Upgrade: websocket, h2c"),
    "two upgrades": UPGRADE.replace(b"Upgrade: websocket", b"Upgrade: h2c\r\nUpgrade: websocket"),
    "no key": UPGRADE.replace(b"Sec-WebSocket-Key", b"X-Key"),
    "another version": UPGRADE.replace(b"Version: 13", b"Version: 8"),
    "HTTP/1.0": UPGRADE.replace(b"HTTP/1.1", b"HTTP/1.0"),
    "not of the connection": UPGRADE.replace(b"Connection: keep-alive, Upgrade", b"Connection: keep-alive"),
}


@pytest.mark.parametrize("request_", BAD.values(), ids=BAD)
def test_what_is_not_quite_a_websocket_is_refused(web: Web, request_: bytes) -> None:
    assert web.raw(request_).startswith(b"HTTP/1.1 501 ")
    assert web.asked == [] and web.dialled == 0


def test_an_upgrade_to_another_protocol_is_not_asked_for(web: Web) -> None:
    web.raw(UPGRADE.replace(b"Upgrade: websocket", b"Upgrade: h2c").replace(b"keep-alive, Up", b"close, Up"))
    assert not {"Upgrade", "HTTP2-Settings"} & set(web.asked[0][0]["headers"])


def test_a_change_of_protocol_that_nobody_asked_for_is_no_answer(web: Web) -> None:
    def switch(host: ssl.SSLSocket) -> None:
        with suppress(OSError):
            host.sendall(SWITCH + b"GET / HTTP/1.1")

    with web.line(dial=web.dial_to(switch)) as line:
        line.sendall(f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        assert b"".join(iter(lambda: line.recv(65536), b"")).startswith(b"HTTP/1.1 502 ")


@given(st.lists(st.integers(0, 120), max_size=8), st.integers(0, 3))
def test_of_a_stream_that_waits_for_nothing_at_most_five_bytes_of_a_secret_show(cuts: list[int], spaces: int) -> None:
    mask = Mask({"A": VALUE}, lambda _, found: b"x" * len(found))
    said = b"a" * spaces + NAMED + b" and " + NAMED + b"."
    stream, places = mask.stream(prompt=True), sorted({0, *(min(cut, len(said)) for cut in cuts), len(said)})
    shown = b"".join(stream.feed(said[start:end]) for start, end in pairwise(places))
    shown += stream.finish()
    assert len(shown) == len(said)
    assert NAMED[:6] not in shown and NAMED[5:12] not in shown
