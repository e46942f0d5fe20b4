"""The parsers of what a guest sends, fed with mutations of proper messages, against other parsers of the same formats.

A guest gets past a parser when a server reads a message in another way. So each test compares what the parser accepts
with what OpenSSL, the standard library's HTTP server, or a lenient reading of paths makes of the same bytes. The
examples are the same in every run; with PYRO_FUZZ=N there are N random ones instead.
"""

from __future__ import annotations

import http.server
import io
import os
import posixpath
import ssl
import struct
from urllib.parse import unquote

from hypothesis import given, settings
from hypothesis import strategies as st

from pyro_mcp.network.addressing.host_names import BadName, canonical_name
from pyro_mcp.network.dns import dns_message
from pyro_mcp.network.http.client_hello import UnidentifiedHost, tls_name
from pyro_mcp.network.http.plain_http import RequestFilter, http_name
from pyro_mcp.network.policy.request_rule import RequestRule, request_refusal
from tests.network.test_first_bytes import crafted, hello, named

_EXAMPLES = os.environ.get("PYRO_FUZZ", "")
fuzz = settings(max_examples=int(_EXAMPLES or 400), derandomize=not _EXAMPLES)

HELLOS = [
    hello("api.example.com"),
    hello("a.test", latest=ssl.TLSVersion.TLSv1_2),
    crafted(named(b"a.test"), (16, b"\0\3\2h2")),
    crafted((16, b"\0\3\2h2"), named(b"A.Test")),
    crafted(named(b"a.test", b"b.test")),
    crafted(named(b"a.test"), named(b"b.test")),
]
HOST = "a.test"
REQUESTS = [
    b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
    b"POST /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\r\nbodyGET /2 HTTP/1.1\r\nHost: a.test\r\n\r\n",
    b"POST /x HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
    b"GET http://a.test/y HTTP/1.1\r\nHost: a.test:80\r\nConnection: keep-alive\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: b.test\r\n\r\n",
    b"PUT /x HTTP/1.0\r\nhost: a.test\r\nContent-Length: 0\r\n\r\n",
]
PIECES = [
    b"\r\n", b"\n", b"\r", b" ", b"\t", b"\0", b":", b"Host: b.test\r\n", b"Host:b.test\r\n", b"\r\n Host: b.test\r\n",
    b"Content-Length: 0\r\n", b"Content-Length: 44\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding : chunked\r\n", b"Transfer-Encoding: x\r\n", b"0\r\n\r\n", b"GET / HTTP/1.1\r\n",
    b"\r\n\r\nGET /evil HTTP/1.1\r\nHost: b.test\r\n\r\n", b"a.test", b"b.test", b"\xff", b"HTTP/1.1", b"HTTP/0.9",
]  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn, proper: list[bytes], pieces: list[bytes]) -> bytes:
    """Draw a proper message with a few bytes changed, left out, repeated or added."""
    data = bytearray(draw(st.sampled_from(proper)))
    for _ in range(draw(st.integers(0, 4))):
        at, size = draw(st.integers(0, len(data))), draw(st.integers(0, 8))
        match draw(st.integers(0, 4)):
            case 0:
                data[at : at + size] = draw(st.binary(max_size=8))
            case 1:
                data[at:at] = draw(st.sampled_from(pieces))
            case 2:
                del data[at : at + size]
            case 3:
                data[at:at] = data[at : at + 4 * size]
            case _:
                data[at : at + 2] = struct.pack("!H", draw(st.integers(0, 70)))
    return bytes(data)


def name_for_openssl(data: bytes) -> str | None:
    """Return the server name that OpenSSL finds in the first bytes of a connection; None if it finds none."""
    found: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sni_callback = lambda _, name, __: found.append(name)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    incoming.write(data)
    try:
        context.wrap_bio(incoming, outgoing, server_side=True).do_handshake()
    except (ssl.SSLError, UnicodeError, ValueError):
        return found[0] if found else None
    return found[0] if found else None


@given(mutated(HELLOS, [b"\0", b"\xff", b"\0\0\0\x0b\0\x09\0\0\6b.test", b"\x16\3\1\0\4"]), st.integers(1, 60))
@fuzz
def test_openssl_sees_the_server_name_that_we_see(data: bytes, size: int) -> None:
    try:
        ours = tls_name(data)
    except UnidentifiedHost:
        return
    if ours is None:
        return
    theirs = name_for_openssl(data)
    assert theirs is None or canonical_name(theirs) == ours
    assert all(tls_name(data[:end]) in (None, ours) for end in range(size, len(data), size))


class Seen(http.server.BaseHTTPRequestHandler):
    """A lenient server, which only notes the hosts of the requests that it reads."""

    protocol_version = "HTTP/1.1"

    def __init__(self, data: bytes) -> None:
        self.hosts: list[list[str]] = []
        self.rfile, self.wfile = io.BufferedReader(io.BytesIO(data)), io.BytesIO()
        self.client_address, self.close_connection = ("guest", 0), False
        while not self.close_connection and self.rfile.peek(1):
            self.handle_one_request()

    def __getattr__(self, name: str) -> object:
        if name.startswith("do_"):
            return self.note
        raise AttributeError(name)

    def note(self) -> None:
        self.hosts.append(self.headers.get_all("Host") or [])
        if "chunked" in (self.headers["Transfer-Encoding"] or "").lower():
            while size := int(self.rfile.readline().split(b";")[0] or b"0", 16):
                self.rfile.read(size + 2)
            while self.rfile.readline().strip():
                continue
        else:
            self.rfile.read(int(self.headers["Content-Length"] or 0))

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""


@given(mutated(REQUESTS, PIECES), st.integers(1, 40))
@fuzz
def test_every_request_that_is_passed_on_is_for_the_host_also_for_another_server(data: bytes, size: int) -> None:
    passed, whole = bytearray(), b""
    pieces = RequestFilter(HOST)
    try:
        for at in range(0, len(data), size):
            passed += pieces.feed(data[at : at + size])
        whole = RequestFilter(HOST).feed(data)
    except UnidentifiedHost:
        pass
    else:
        assert Seen(bytes(passed)).hosts == Seen(whole).hosts
    hosts = Seen(bytes(passed)).hosts
    assert all(len(given) == 1 and given[0].partition(":")[0].lower().rstrip(".") == HOST for given in hosts), hosts


@given(mutated(REQUESTS, PIECES))
@fuzz
def test_the_first_host_is_the_one_that_another_server_reads(data: bytes) -> None:
    try:
        ours = http_name(data)
    except UnidentifiedHost:
        return
    if ours is None:
        return
    head, end, _ = data.partition(b"\n\r\n")
    hosts = Seen(head + end).hosts
    unfolded = [
        [" ".join(one.split()) for one in given] for given in hosts
    ]  # the gateway writes each field as one line
    assert all([canonical_name(one.partition(":")[0]) for one in given] == [ours] for given in unfolded), hosts


DNS = [
    dns_message.query(7, (b"www", b"a", b"test"), kind) for kind in (dns_message.A, dns_message.TXT, dns_message.PTR)
]


@given(mutated(DNS, [b"\xc0\x0c", b"\0", b"\1x", b"\x3f", b"\0\0\x29\4\xd0\0\0\0\0\0\0"]))
@fuzz
def test_a_question_is_answered_with_itself_within_its_size(data: bytes) -> None:
    try:
        question = dns_message.parse_question(data)
    except dns_message.Malformed:
        reply = dns_message.malformed_reply(data)
        assert reply is None or len(reply) == 12
        return
    reply = dns_message.reply(question, 3, reason="no" * 400)
    again = dns_message.parse_question(reply[:2] + b"\1\0" + reply[4:])
    assert (again.labels, again.type) == (question.labels, question.type)
    assert len(reply) <= question.udp_bytes <= 1232
    try:
        assert canonical_name(b".".join(question.labels).decode("ascii")).count("..") == 0
    except (BadName, UnicodeDecodeError):
        return


def readings(target: str) -> set[str]:
    """Return the paths that servers may make of a target."""
    path = target.partition("?")[0]
    found = {path, unquote(path, errors="replace"), unquote(unquote(path, errors="replace"), errors="replace")}
    found |= {one.replace("\\", "/") for one in found}
    found |= {"/".join(part.partition(";")[0] for part in one.split("/")) for one in found}
    return {posixpath.normpath(one) for one in found}


PARTS = [
    "/", "v1", "v2", ".", "..", "%2e", "%2E%2e", "%2f", "%5c", "\\", ";x", "%3b", "%00", "%25", "%252e", "//", "x", "é",
    "%c0%ae", "%e9", "?", "#", " ", "*",
]  # fmt: skip


@given(st.lists(st.sampled_from(PARTS), max_size=8))
@fuzz
def test_an_allowed_path_stays_below_its_rule_in_every_reading(parts: list[str]) -> None:
    target = "/v1/" + "".join(parts)
    raw = target.encode("latin-1", errors="replace")
    if request_refusal([RequestRule(("GET",), ("/v1/*",))], "GET", raw):
        return
    for path in readings(raw.decode("latin-1")):
        assert path == "/v1" or path.startswith("/v1/"), (target, path)
