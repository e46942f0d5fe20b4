"""What a host that shows its secret, or strange TLS and HTTP, makes of an answer: the machine never gets the secret."""

from __future__ import annotations

import base64
import gzip
import json
import re
import ssl
import subprocess
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import pytest

from pyro_mcp.network.http import message_rules
from pyro_mcp.network.policy.host_secret import HostSecret
from tests.network.tls_site import HOST, SECRET, VALUE, Web

PLACEHOLDER = SECRET.placeholder
REQUEST = f"GET / HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {PLACEHOLDER}\r\n\r\n".encode()
NAMED = VALUE.encode()


@pytest.fixture
def web(tmp_path: Path) -> Web:
    return Web(tmp_path)


def answered(web: Web, answer: bytes, arrange: Callable[[ssl.SSLContext], object] = lambda _: None) -> bytes:
    """All that a machine gets when the host, whose TLS is arranged so, says `answer` and hangs up properly."""

    def say(host: ssl.SSLSocket) -> None:
        host.sendall(answer)
        host.unwrap()

    received = bytearray()
    with web.line(dial=web.dial_to(say, arrange)) as line, suppress(OSError):
        line.sendall(REQUEST)
        while piece := line.recv(65536):
            received += piece
    return bytes(received)


def whole(content: bytes, *fields: bytes) -> bytes:
    head = [b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(content), *fields]
    return b"\r\n".join(head) + b"\r\n\r\n" + content


LAST = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
TOLD = {
    "a field's name": whole(b"ok", b"X-" + NAMED + b": shown"),
    "a field's name in capitals": whole(b"ok", b"X-" + NAMED.upper() + b": shown"),
    "a field's value in capitals": whole(b"ok", b"X-Shown: " + NAMED.upper()),
    "the reason": b"HTTP/1.1 200 " + NAMED + b"\r\nContent-Length: 2\r\n\r\nok",
    "an early hint's name": b"HTTP/1.1 103 Early Hints\r\nX-" + NAMED + b": 1\r\n\r\n" + LAST,
    "an early hint's value": b"HTTP/1.1 103 " + NAMED + b"\r\nLink: </" + NAMED + b">\r\n\r\n" + LAST,
    "a trailer's name": CHUNKED + b"2\r\nok\r\n0\r\nX-" + NAMED + b": 1\r\n\r\n",
    "a trailer's value": CHUNKED + b"2\r\nok\r\n0\r\nX: " + NAMED + b"\r\n\r\n",
    "a chunk's extension": CHUNKED + b"2;x=" + NAMED + b"\r\nok\r\n0\r\n\r\n",
    "gzip": whole(gzip.compress(b"ok " + NAMED), b"Content-Encoding: gzip"),
    "gzip in two": whole(gzip.compress(b"ok " + NAMED[:9]) + gzip.compress(NAMED[9:]), b"Content-Encoding: GZip"),
}  # fmt: skip


@pytest.mark.parametrize("answer", TOLD.values(), ids=TOLD)
def test_a_secret_is_taken_out_wherever_an_answer_holds_it(web: Web, answer: bytes) -> None:
    received = answered(web, answer)
    assert b" 200 " in received and b"ok" in received
    assert NAMED not in received and NAMED.upper() not in received and NAMED.lower() not in received


@pytest.mark.parametrize("coding", ["br", "zstd", "deflate", "compress", "gzip, br", "x-unknown"])
def test_an_answer_in_a_coding_that_nobody_here_knows_is_withheld(web: Web, coding: str) -> None:
    received = answered(web, whole(zlib.compress(NAMED), f"Content-Encoding: {coding}".encode()))
    assert received.startswith(b"HTTP/1.1 502 ") and f"({coding})".encode() in received


@pytest.mark.parametrize("content", [b"\x1f\x8b is no gzip", gzip.compress(b"rm -r build")[:-6]])
def test_compressed_content_that_is_broken_is_not_passed_on_as_complete(web: Web, content: bytes) -> None:
    received = answered(web, whole(content, b"Content-Encoding: gzip"))
    assert not received.endswith(b"0\r\n\r\n")


def test_little_that_unpacks_to_very_much_arrives_piece_by_piece(web: Web) -> None:
    packed = gzip.compress(bytes(32 << 20))
    received = answered(web, whole(packed, b"Content-Encoding: gzip"))
    assert received.count(0) == 32 << 20 and received.endswith(b"0\r\n\r\n")


def test_a_request_with_the_secret_asks_for_no_part_of_an_answer(web: Web) -> None:
    fields = {"Range": "bytes=3-9", "If-Range": '"x"'}
    with web.client() as client:
        for headers in (fields, {**fields, "Authorization": PLACEHOLDER}):
            client.request("GET", "/", headers=headers)
            client.getresponse().read()
    without, with_it = (set(asked["headers"]) for asked, _ in web.asked)
    assert {"Range", "If-Range"} <= without and not {"Range", "If-Range"} & with_it


def test_the_secret_goes_into_the_field_it_is_for_and_into_no_other(web: Web) -> None:
    names = [
        "X-Api-Key",
        "Cookie",
        "User-Agent",
        "Referer",
        "X-Forwarded-For",
        "Accept",
        "If-None-Match",
        "Proxy-Authorization",
    ]
    with web.client() as client:
        client.request("GET", "/", headers=dict.fromkeys(names, f"Bearer {PLACEHOLDER}"))
        client.getresponse().read()
    assert all(web.asked[0][0]["headers"][name] == f"Bearer {PLACEHOLDER}" for name in names)


@pytest.mark.parametrize(
    "arrange",
    [
        lambda context: context.set_ecdh_curve(
            "secp521r1"
        ),  # which is not the first that we offer: a retry of the hello
        lambda context: setattr(context, "maximum_version", ssl.TLSVersion.TLSv1_2),
        lambda context: context.set_alpn_protocols(["h2"]),
    ],
    ids=["a retry of the greeting", "TLS 1.2", "HTTP/2 alone"],
)
def test_a_host_with_another_tls_is_understood(web: Web, arrange: Callable[[ssl.SSLContext], object]) -> None:
    assert answered(web, LAST, arrange).endswith(b"\r\n\r\nok")


def test_an_answer_in_http_2_is_withheld(web: Web) -> None:
    settings = b"\0\0\0\4\0\0\0\0\0"
    answer = answered(web, settings + settings, lambda context: context.set_alpn_protocols(["h2"]))
    assert answer.startswith(b"HTTP/1.1 502 ") and b"not valid HTTP" in answer


def test_keys_are_agreed_on_once(web: Web) -> None:
    with web.listening() as port:
        command = ["openssl", "s_client", "-tls1_2", "-servername", HOST, "-connect", f"127.0.0.1:{port}"]
        done = subprocess.run(command, check=False, input=b"R\n", capture_output=True, timeout=20)
    assert b"RENEGOTIATING" in done.stdout + done.stderr and b"no renegotiation" in done.stderr
    assert web.dialled == 0


AWKWARD = "p&ss<w>ord='+/~\"$0123456789"


def escaped(text: str, characters: str, form: str) -> str:
    return re.sub(f"[{re.escape(characters)}]", lambda one: form.format(ord(one[0])), text)


ECHOES = {
    "Go's JSON": escaped(json.dumps(AWKWARD), "&<>", "\\u{:04x}"),
    "Gson's JSON": escaped(json.dumps(AWKWARD), "&<>='", "\\u{:04x}"),
    ".NET's JSON": escaped(AWKWARD, "&<>='+\"$", "\\u{:04X}"),
    "JSON of nothing but escapes": escaped(AWKWARD, AWKWARD, "\\u{:04x}"),
    "decimal HTML": escaped(AWKWARD, "&<>='+\"$", "&#{};"),
    "hexadecimal HTML": escaped(AWKWARD, "&<>='+\"$", "&#x{:X};"),
    "a URL": quote(AWKWARD, safe=""),
    "a URL with a tilde": quote(AWKWARD, safe="").replace("~", "%7E"),
    "a URL of nothing but escapes": escaped(AWKWARD, AWKWARD, "%{:02x}"),
    "a URL in a URL": quote(quote(AWKWARD, safe=""), safe=""),
    "HTML in JSON": json.dumps(escaped(AWKWARD, "&<>='+\"$", "&#{};")),
    "Basic": base64.b64encode(f"user:{AWKWARD}".encode()).decode(),
    "Basic in JSON": base64.b64encode(f"user:{AWKWARD}".encode()).decode().replace("/", "\\/").replace("+", "\\u002B"),
    "Basic in a URL": quote(base64.b64encode(f"user:{AWKWARD}".encode()), safe=""),
    "hex in capitals": AWKWARD.encode().hex().upper(),
}  # fmt: skip


@pytest.mark.parametrize("echo", ECHOES.values(), ids=ECHOES)
def test_an_escaped_echo_is_taken_out_and_keeps_its_length(echo: str) -> None:
    stream = message_rules.mask_of([HostSecret("A", "pyro-secret-A-0123456789", AWKWARD, HOST)]).stream()
    said = f"before {echo} after".encode()
    pieces = [stream.feed(said[place : place + 5]) for place in range(0, len(said), 5)]
    shown = b"".join([*pieces, stream.finish()])
    assert len(shown) == len(said) and shown.startswith(b"before ") and shown.endswith(b" after")
    middle = echo[len(echo) // 3 : 2 * len(echo) // 3].encode()
    assert middle not in shown
