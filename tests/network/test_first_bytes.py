"""The first bytes of a connection, from clients and from strangers."""

from __future__ import annotations

import ssl
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyro_mcp.network.http.client_hello import UnidentifiedHost, tls_name
from pyro_mcp.network.http.plain_http import RequestFilter, http_name


def hello(name: str | None, *, latest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.maximum_version = latest
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


def crafted(*extensions: tuple[int, bytes]) -> bytes:
    listed = b"".join(struct.pack("!HH", kind, len(data)) + data for kind, data in extensions)
    body = b"\3\3" + bytes(32) + b"\0" + b"\0\2\x13\x01" + b"\1\0" + struct.pack("!H", len(listed)) + listed
    message = b"\1" + len(body).to_bytes(3) + body
    return b"\x16\3\1" + struct.pack("!H", len(message)) + message


def named(*names: bytes) -> tuple[int, bytes]:
    listed = b"".join(b"\0" + struct.pack("!H", len(name)) + name for name in names)
    return 0, struct.pack("!H", len(listed)) + listed


@pytest.mark.parametrize("latest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_real_client_is_understood_at_its_last_byte_and_not_before(latest: ssl.TLSVersion) -> None:
    data = hello("Api.Example.com", latest=latest)

    assert [tls_name(data[:size]) for size in (0, 1, 5, 40, len(data) - 1)] == [None] * 5
    assert tls_name(data) == "api.example.com"
    assert tls_name(data + b"\x14\3\3\0\1\1") == "api.example.com"


def test_a_greeting_in_many_records_is_put_together() -> None:
    message = hello("a.test")[5:]
    parts = [message[at : at + 50] for at in range(0, len(message), 50)]
    data = b"".join(b"\x16\3\1" + struct.pack("!H", len(part)) + part for part in parts)

    assert tls_name(data) == "a.test"


@pytest.mark.parametrize(
    "data",
    [
        hello(None),
        crafted(),
        crafted(named(b"a.test", b"b.test")),
        crafted(named(b"a.test"), named(b"b.test")),
        crafted(named(b"a.test"), (0xFE0D, b"x")),
        crafted(named(b"a.test\0.evil")),
        crafted(named(b"127.0.0.1")),
        crafted((0, b"")),
        crafted((0, b"\0\5\1\0\2aa")),
        b"SSH-2.0-OpenSSH",
        b"GET / HTTP/1.1\r\n",
        b"\x16\3\1\0\0",
        b"\x16\3\1\xff\xff",
        b"\x16\3\1\0\4\2\0\0\0",
    ],
)
def test_a_greeting_without_one_plain_name_is_unclear(data: bytes) -> None:
    with pytest.raises(UnidentifiedHost):
        tls_name(data)


@given(st.binary(max_size=400), st.integers(0, 300))
def test_any_bytes_are_a_greeting_or_unclear_or_not_complete(noise: bytes, at: int) -> None:
    data = bytearray(hello("a.test"))
    data[at : at + len(noise)] = noise
    for candidate in (noise, bytes(data)):
        try:
            name = tls_name(candidate)
        except UnidentifiedHost:
            continue
        assert name is None or name.isascii()


GET = b"GET /x HTTP/1.1\r\nHost: a.test\r\nAccept: */*\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nhost:a.test:80\r\nContent-Length: 5\r\n\r\nHost:"
CHUNKS = b"PUT / HTTP/1.1\r\nHost: A.test\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nGET /\r\n0\r\nX: y\r\n\r\n"


def understood(stream: bytes) -> list[tuple[bytes, bytes]]:
    """The head and the content of each request, as the plainest reader understands them."""
    found = []
    while stream:
        head, _, stream = stream.partition(b"\r\n\r\n")
        content = b""
        if b"chunked" in head:
            while size := int(stream.partition(b"\r\n")[0].partition(b";")[0], 16):
                content, stream = (
                    content + stream.partition(b"\r\n")[2][:size],
                    stream.partition(b"\r\n")[2][size + 2 :],
                )
            stream = stream.partition(b"\r\n\r\n")[2]
        elif b"Content-Length" in head:
            content, stream = stream[:5], stream[5:]
        found.append((head.replace(b"host:a", b"host: a"), content))
    return found


@given(st.lists(st.sampled_from([GET, POST, CHUNKS]), min_size=1, max_size=6), st.data())
def test_requests_to_one_host_mean_the_same_however_they_are_cut(requests: list[bytes], data: st.DataObject) -> None:
    stream, passed, filtered = b"".join(requests), b"", RequestFilter("a.test")
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        passed += filtered.feed(stream[:size])
        stream = stream[size:]

    assert understood(passed) == understood(b"".join(requests))


@pytest.mark.parametrize(
    ("said", "passed"),
    [
        (b"GET / HTTP/1.1\nHost: a.test\n\n", b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"),
        (b"GET / HTTP/1.0\r\nHost: a.test\r\n\r\n", b"GET / HTTP/1.0\r\nHost: a.test\r\n\r\n"),
        (b"GET / HTTP/1.1\r\nHost: a.test\r\nX:  \ty  \r\n\r\n", b"GET / HTTP/1.1\r\nHost: a.test\r\nX: y\r\n\r\n"),
        (b"GET / HTTP/1.1\r\nHost: a.test\r\nX: y\r\n z\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a.test\r\nX: y z\r\n\r\n"),
    ],
)
def test_what_could_be_read_in_two_ways_is_said_anew_in_one(said: bytes, passed: bytes) -> None:
    assert RequestFilter("a.test").feed(said) == passed


@pytest.mark.parametrize("first", [b"", GET, POST, CHUNKS])
@pytest.mark.parametrize(
    "bad",
    [
        b"GET / HTTP/1.1\r\nHost: b.test\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a.test\r\n b.test\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : b.test\r\nHost: a.test\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: y\nHost: b.test\r\nHost: a.test\r\n\r\n",
        b"GET http://b.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n",
        b"GET http://a.test@b.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n",
        b"CONNECT b.test:443 HTTP/1.1\r\nHost: a.test\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: +5\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: identity, chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n5\nGET /\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nGET /xx",
        b"GET / HTTP/1.1\r\nHost: a.test\0.evil\r\n\r\n",
    ],
)
def test_a_request_that_is_or_may_be_for_another_host_stops_the_stream(first: bytes, bad: bytes) -> None:
    with pytest.raises(UnidentifiedHost):
        RequestFilter("a.test").feed(first + bad)


def test_a_change_of_protocol_is_not_asked_for() -> None:
    request = b"GET / HTTP/1.1\r\nHost: a.test\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\nAccept: *\r\n\r\n"

    assert RequestFilter("a.test").feed(request) == b"GET / HTTP/1.1\r\nHost: a.test\r\nAccept: *\r\n\r\n"


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_unclear_or_not_complete(data: bytes) -> None:
    for candidate in (data, GET[:-2] + data + b"\r\n\r\n"):
        try:
            assert http_name(candidate) in (None, "a.test")
        except UnidentifiedHost:
            continue


def test_a_head_without_an_end_is_not_kept_for_ever() -> None:
    with pytest.raises(UnidentifiedHost, match="too long"):
        RequestFilter("a.test").feed(b"GET / HTTP/1.1\r\nX: " + b"y" * 40_000)
