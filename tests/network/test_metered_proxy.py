"""The proxy in front of the API of a model: what it sends, what it reports, and how it refuses."""

from __future__ import annotations

import gzip
import json
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pyro_mcp.network.http import metered
from pyro_mcp.network.http.tls_proxy import TLSProxy
from pyro_mcp.network.metering.values import NOTHING_USED, ModelRefusal, ModelRequest, ModelUsage, Reservation
from pyro_mcp.network.policy.rules import Rules
from tests.network.test_metering_answers import MESSAGE, START, STOP, USED, events
from tests.network.test_metering_requests import MESSAGE as ASKED
from tests.network.tls_site import FOREIGN, HOST, SECRET, Web
from tests.waiting import until

CONTENT = json.dumps(ASKED).encode()
HEAD = f"POST /v1/messages?beta=true HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\n".encode()
REQUEST = HEAD + b"Content-Length: %d\r\n\r\n" % len(CONTENT) + CONTENT
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


@dataclass
class Books:
    """A supervisor that writes down what it was asked and told."""

    refusal: ModelRefusal | None = None
    asked: list[ModelRequest] = field(default_factory=list)
    told: list[tuple[str, ModelUsage]] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def model_request(self, request: ModelRequest) -> Reservation | ModelRefusal:
        self.asked.append(request)
        return self.refusal or Reservation(str(len(self.asked)))

    def model_usage(self, reservation: str, usage: ModelUsage) -> None:
        self.told.append((reservation, usage))
        self.ended.set()

    def last(self) -> tuple[str, ModelUsage]:
        assert self.ended.wait(30)
        return self.told[-1]


@pytest.fixture
def books() -> Books:
    return Books()


@pytest.fixture
def web(tmp_path: Path, books: Books) -> Web:
    found = Web(tmp_path)
    rules = Rules(({"host": HOST, "meter": "anthropic"},))
    found.tls_proxy = TLSProxy([SECRET, FOREIGN], found.authority.identities, str(tmp_path / "roots.pem"), rules, books)
    return found


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def read_content(site: ssl.SSLSocket) -> None:
    """Read the rest of the request, which an early end of the connection would otherwise reset."""
    received = b""
    while not received.endswith(CONTENT[-20:]):
        received += site.recv(65536) or pytest.fail("the request is not complete")


def says(*parts: bytes) -> Callable[[ssl.SSLSocket], None]:
    """Return a site that sends these parts of an answer to a request."""

    def site(line: ssl.SSLSocket) -> None:
        if parts:
            read_content(line)
        line.sendall(b"".join(parts))
        line.unwrap()

    return site


def talk(web: Web, request: bytes, site: Callable[[ssl.SSLSocket], None]) -> bytes:
    with web.line(dial=web.dial_to(site)) as line:
        line.sendall(request)
        return b"".join(iter(lambda: line.recv(65536), b""))


def answered(received: bytes) -> tuple[int, dict[str, str], Any]:
    head, _, body = received.partition(b"\r\n\r\n")
    status, *fields = head.decode().split("\r\n")
    return int(status.split()[1]), dict(one.lower().split(": ", 1) for one in fields), json.loads(body)


def test_a_stream_is_reserved_before_it_is_sent_and_counted_at_its_end(web: Web, books: Books) -> None:
    received = talk(web, REQUEST, says(STREAM_HEAD, chunk(MESSAGE), b"0\r\n\r\n"))

    assert MESSAGE in received.replace(b"\r\n", b"") or b"message_stop" in received
    (asked,) = books.asked
    assert (asked.host, asked.path, asked.model) == (HOST, "/v1/messages", ASKED["model"])
    assert books.last() == ("1", USED)


def test_an_answer_is_passed_on_while_it_streams_and_its_usage_is_reported_once(web: Web, books: Books) -> None:
    go = threading.Event()

    def site(line: ssl.SSLSocket) -> None:
        read_content(line)
        line.sendall(STREAM_HEAD + chunk(events(START)))
        assert go.wait(30)
        line.sendall(chunk(events(STOP)) + b"0\r\n\r\n")

    with web.line(dial=web.dial_to(site)) as line:
        line.sendall(REQUEST)
        received = b""
        while b"message_start" not in received:  # it is passed on before the answer has ended
            received += line.recv(65536)
        go.set()
        while line.recv(65536):
            pass
    assert books.last() == ("1", USED) and books.told == [("1", USED)]


def test_a_refused_request_never_reaches_the_site(web: Web, books: Books) -> None:
    books.refusal = ModelRefusal("the budget is used: 9 of 10 tokens")
    seen: list[bytes] = []

    status, fields, body = answered(talk(web, REQUEST, lambda site: seen.append(site.recv(1))))

    assert (status, fields["content-type"], fields["x-should-retry"]) == (400, "application/json", "false")
    assert (body["type"], body["error"]["type"]) == ("error", "invalid_request_error")
    assert "the budget is used: 9 of 10 tokens" in body["error"]["message"]
    assert seen in ([], [b""]) and not books.told


def test_a_request_that_may_fit_later_says_so(web: Web, books: Books) -> None:
    books.refusal = ModelRefusal("other requests run", passing=True)

    status, fields, body = answered(talk(web, REQUEST, says()))

    assert (status, body["error"]["type"], fields["retry-after"]) == (503, "overloaded_error", "5")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ((b"POST /v1/messages?beta=true", b"POST /v1/messages/batches"), "not known"),
        ((b"POST /v1/messages?beta=true", b"POST /v1//messages"), "empty part"),
        ((b"POST /v1/messages?beta=true", b"POST /v1/%6dessages/x"), "not known"),
        ((b"application/json", b"application/json\r\nContent-Encoding: gzip"), "compressed"),
        (
            (b"application/json", b"application/json\r\nContent-Encoding: br\r\nContent-Encoding: identity"),
            "compressed",
        ),
        ((b"application/json", b"application/json; charset=utf-7"), "UTF-8"),
        ((b"application/json", b"multipart/form-data"), "application/json"),
        ((b"application/json", b"application/json\r\nX-HTTP-Method-Override: GET"), "method or path"),
        ((b"application/json", b"application/json\r\nUpgrade: h2c"), "WebSocket"),
        ((b'"max_tokens": 32000', b'"max_tokens": "all"'), "max_tokens"),
        ((b'"stream": true', b'"max_tokens": 1'), "twice"),
    ],
)
def test_what_cannot_be_counted_is_refused(web: Web, books: Books, change: tuple[bytes, bytes], named: str) -> None:
    content = CONTENT.replace(*change)
    head = HEAD.replace(*change)
    request = head + b"Content-Length: %d\r\n\r\n" % len(content) + content

    status, _, body = answered(talk(web, request, says()))

    assert status == 400 and named in body["error"]["message"]
    assert not books.asked


def test_a_websocket_to_a_model_is_refused(web: Web) -> None:
    fields = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AA==\r\n"
    status, _, body = answered(talk(web, f"GET /v1/x HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n".encode(), says()))
    assert status == 400 and "WebSocket" in body["error"]["message"]


def test_what_costs_nothing_passes_without_being_asked(web: Web, books: Books) -> None:
    for method, path in (("GET", "/v1/models"), ("POST", "/v1/messages/count_tokens?beta=true"), ("HEAD", "/")):
        with web.client() as client:
            client.request(method, path, body=b"{}" if method == "POST" else None)
            assert client.getresponse().status == 200
    assert not books.asked and not books.told


def test_a_refusal_of_the_api_costs_nothing(web: Web, books: Books) -> None:
    error = b'{"type":"error","error":{"type":"overloaded_error","message":"x"}}'
    head = b"HTTP/1.1 529 Overloaded\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(error)
    talk(web, REQUEST, says(head + error))
    assert books.last() == ("1", NOTHING_USED)


def test_a_connection_that_breaks_leaves_what_it_did_not_say_unknown(web: Web, books: Books) -> None:
    def breaks(site: ssl.SSLSocket) -> None:
        read_content(site)
        site.sendall(STREAM_HEAD + chunk(events(START)))
        socket.socket(fileno=site.detach()).close()

    with web.line(dial=web.dial_to(breaks)) as line:
        line.sendall(REQUEST)
        with suppress(OSError):  # the connection to the guest breaks too
            while line.recv(65536):
                pass
    _, usage = books.last()
    assert usage.input_tokens == 25 and usage.output_tokens is None


def test_an_answer_that_never_comes_leaves_everything_unknown(web: Web, books: Books) -> None:
    talk(web, REQUEST, says())
    assert books.last() == ("1", ModelUsage())


def test_a_guest_that_goes_away_does_not_hide_what_it_used(web: Web, books: Books) -> None:
    begun = threading.Event()

    def site(line: ssl.SSLSocket) -> None:
        read_content(line)
        line.sendall(STREAM_HEAD + chunk(events(START)))
        begun.wait(30)

    with web.line(dial=web.dial_to(site)) as line:
        line.sendall(REQUEST)
        while b"message_start" not in line.recv(65536):
            pass
    begun.set()
    _, usage = books.last()
    assert usage.input_tokens == 25 and not usage.is_known


def test_a_compressed_answer_is_read_and_another_coding_is_not(web: Web, books: Books) -> None:
    body = gzip.compress(json.dumps({"usage": {"input_tokens": 3, "output_tokens": 4}}).encode())
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: %b\r\nContent-Length: %d\r\n\r\n"
    talk(web, REQUEST, says(head % (b"gzip", len(body)) + body))
    _, usage = books.last()
    assert (usage.input_tokens, usage.output_tokens) == (3, 4)
    books.ended.clear()

    status, _, _ = answered(talk(web, REQUEST, says(head % (b"br", len(body)) + body)))
    assert status == 502 and books.last()[1] == ModelUsage()


def test_requests_on_one_connection_are_counted_apart(web: Web, books: Books) -> None:
    def site(line: ssl.SSLSocket) -> None:
        for count in (5, 6):
            read_content(line)
            body = json.dumps({"usage": {"input_tokens": count, "output_tokens": 1}}).encode()
            head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
            line.sendall(head + body)
        line.unwrap()

    talk(web, REQUEST + REQUEST, site)
    assert [(one, usage.input_tokens) for one, usage in books.told] == [("1", 5), ("2", 6)]


def test_a_client_that_waits_for_leave_gets_it_from_the_gateway(web: Web, books: Books) -> None:
    with web.line(dial=web.dial_to(says(STREAM_HEAD, chunk(MESSAGE), b"0\r\n\r\n"))) as line:
        line.sendall(HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(CONTENT))
        assert line.recv(65536).startswith(b"HTTP/1.1 100")
        line.sendall(CONTENT)
        while line.recv(65536):
            pass
    assert books.last()[1] == USED


def test_too_large_requests_are_refused(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metered, "MOST_REQUEST_BYTES", 50)
    status, _, body = answered(talk(web, REQUEST, says()))
    assert (status, body["error"]["type"]) == (413, "request_too_large")


def test_held_requests_are_bounded_together(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    held = metered._Held(len(CONTENT) + 10)
    monkeypatch.setattr(metered, "_held", held)
    with web.line() as other:
        other.sendall(HEAD + b"Content-Length: 1000\r\n\r\n" + b"x" * 20)
        until("the other request is held", lambda: held._now, lambda now: now == 20)
        assert answered(talk(web, REQUEST, says()))[0] == 503
    assert talk(web, REQUEST, says(STREAM_HEAD, chunk(MESSAGE), b"0\r\n\r\n")).startswith(b"HTTP/1.1 200")
    assert held._now == 0


def test_a_site_that_cannot_be_reached_reserves_nothing(web: Web, books: Books) -> None:
    web.refusal = OSError("no route")
    with web.line() as line:
        line.sendall(REQUEST)
        status, _, body = answered(b"".join(iter(lambda: line.recv(65536), b"")))
    assert (status, body["type"]) == (502, "error") and not books.asked


def test_without_a_supervisor_every_metered_request_is_refused(web: Web, tmp_path: Path) -> None:
    rules = Rules(({"host": HOST, "meter": "anthropic"},))
    web.tls_proxy = TLSProxy([SECRET], web.authority.identities, str(tmp_path / "roots.pem"), rules)
    status, _, body = answered(talk(web, REQUEST, says()))
    assert status == 400 and "nobody supervises" in body["error"]["message"]


def test_a_secret_still_takes_the_place_of_its_placeholder(web: Web) -> None:
    with web.client() as client:
        client.request("POST", "/v1/messages", CONTENT, {"Authorization": SECRET.placeholder, "Range": "bytes=0-1"})
        assert client.getresponse().status == 200
    asked, content = web.asked[0]
    assert asked["headers"]["Authorization"] == SECRET.value and content == CONTENT
    assert asked["headers"]["Accept-Encoding"] == "identity" and "Range" not in asked["headers"]
