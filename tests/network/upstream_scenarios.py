"""Scenarios with names that lead to a port of the host."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from pyro_mcp.network import HostSecret, Rules
from tests.network.container_backend import container_with_egress
from tests.network.internet import LAN
from tests.network.scenario import RESET, UNKNOWN, refusals, scenario
from tests.network.testbed import Testbed

PLACEHOLDER, VALUE = "pyro-secret-MODEL-0123456789ab", "model-key-0123456789abcdefghij"


class Model(BaseHTTPRequestHandler):
    """Answers with what it was asked; a POST to /stream with two events, the second when it is asked for."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        fields = ("Host", "Authorization", "X-Api-Key")
        asked = {"path": self.path, **{name: self.headers.get(name) for name in fields}}
        ASKED.append(asked)
        self.reply(json.dumps(asked).encode())

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.do_GET()

    def reply(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""


ASKED: list[dict[str, str | None]] = []


@contextmanager
def model() -> Iterator[int]:
    """Serve at a port of the host's 127.0.0.1."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Model) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.server_port
        finally:
            server.shutdown()


def https(folder: object, path: str = "/v1/messages", method: str = "POST", host: str = "api.model.test") -> str:
    """Return a program for the guest that prints the status and the content of an answer."""
    return f"""
        import http.client, ssl
        context = ssl.create_default_context(cafile="{folder}/root/etc/pyro-mcp/ca.pem")
        client = http.client.HTTPSConnection({host!r}, timeout=10, context=context)
        client.request({method!r}, {path!r}, headers={{"Authorization": "Bearer {PLACEHOLDER}"}})
        answer = client.getresponse()
        print(answer.status, answer.read().decode())
    """


@scenario
def a_name_leads_to_a_port_of_the_host_and_gets_the_secret_there(testbed: Testbed) -> None:
    secret = HostSecret("MODEL", PLACEHOLDER, VALUE, "api.model.test")
    folder = testbed.container_folder()
    with model() as port:
        rules = Rules(({"host": "api.model.test", "upstream": f"http://127.0.0.1:{port}"},))
        with container_with_egress(folder, rules, [secret]) as guest:
            status, _, content = guest.python(https(folder)).partition(" ")
            shown = json.loads(content)
            assert (status, shown["path"], shown["Host"]) == ("200", "/v1/messages", "api.model.test")
            assert shown["Authorization"] == f"Bearer {PLACEHOLDER}"
            assert ASKED[-1]["Authorization"] == f"Bearer {VALUE}"
            log = guest.log()
    connected = next(entry for entry in log if entry["protocol"] == "tcp")
    assert (connected["address"], connected["port"], connected["upstream"]) == ("127.0.0.1", 443, f"127.0.0.1:{port}")
    asked = next(entry for entry in log if entry["method"])
    assert (asked["method"], asked["path"], asked["name"]) == ("POST", "/v1/messages", "api.model.test")
    assert "api.model.test" not in testbed.asked()


@scenario
def a_port_without_tls_is_passed_on_as_it_is_and_nothing_else_of_the_host_is_reached(testbed: Testbed) -> None:
    class Greet(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(b"space\n")

    with (
        socketserver.ThreadingTCPServer(("127.0.0.1", 0), Greet) as space,
        socketserver.ThreadingTCPServer(("127.0.0.1", 0), Greet) as other,
    ):
        for server in (space, other):
            threading.Thread(target=server.serve_forever, daemon=True).start()
        port, other_port = (server.server_address[1] for server in (space, other))
        rules = Rules(({"host": "space.internal:8000", "upstream": f"http://127.0.0.1:{port}"},))
        with container_with_egress(testbed.container_folder(), rules) as guest:
            assert guest.reached("space.internal", 8000) == "space"
            for wrong in (port, other_port, 80, 443, 8001):
                assert RESET in guest.reached("space.internal", wrong), wrong
            for address in ("127.0.0.1", "10.0.2.2", "172.31.0.2"):
                for wrong in (port, other_port, 8000):
                    assert guest.reached(address, wrong) != "space", (address, wrong)
            assert UNKNOWN in guest.reached("x.space.internal", 8000)
            assert UNKNOWN in guest.reached("localhost.space.internal", 8000)
            why = refusals(guest)
        for server in (space, other):
            server.shutdown()
    assert why["space.internal:80"] == "tcp port 80 is not in the allow list"


@scenario
def a_request_that_no_rule_allows_is_answered_with_the_reason_and_reaches_nobody(testbed: Testbed) -> None:
    folder = testbed.container_folder()
    with model() as port:
        upstream = f"http://127.0.0.1:{port}"
        rules = Rules((
            {"host": "api.model.test", "methods": ["POST"], "paths": ["/v1/*"], "upstream": upstream},
            {"host": "plain.model.test:8080", "methods": ["GET"], "upstream": upstream},
        ))  # fmt: skip
        with container_with_egress(folder, rules) as guest:
            said = guest.python(https(folder))
            assert said.startswith("200 "), said
            for method, path in (("GET", "/v1/messages"), ("POST", "/v2?q=hidden"), ("POST", "/v1/%2e%2e/v2")):
                refused = guest.python(https(folder, path, method))
                assert refused.startswith("403 pyro: ") and "The user can allow it" in refused, refused
            get, post = (
                f"{method} / HTTP/1.1\r\nHost: plain.model.test:8080\r\nContent-Length: 0\r\n\r\n"
                for method in ("GET", "POST")
            )
            assert guest.reached("plain.model.test", 8080, get).startswith("HTTP/1.1 200 ")
            assert guest.reached("plain.model.test", 8080, post).startswith("HTTP/1.1 403")
            assert guest.reached("plain.model.test", 8080, get + post).startswith("HTTP/1.1 200 ")
            assert guest.reached("plain.model.test", 8080, get.replace("plain", "api")).startswith("HTTP/1.1 421")
            log = guest.log()
    assert [asked["path"] for asked in ASKED] == ["/v1/messages", "/", "/"]
    found = [(entry["method"], entry["path"], entry["reason"]) for entry in log if entry["verdict"] == "refused"]
    assert found[:2] == [
        ("GET", "/v1/messages", "GET /v1/messages is not allowed, only POST /v1/*"),
        ("POST", "/v2", "POST /v2 is not allowed, only POST /v1/*"),
    ]
    assert "hidden" not in json.dumps(log)


@scenario
def a_refused_request_over_plain_http_is_answered_with_the_reason(testbed: Testbed) -> None:
    request = "GET / HTTP/1.1\r\nHost: web.test\r\n\r\n"
    with container_with_egress(testbed.container_folder(), Rules(("web.test:443", "web.test:7000"))) as guest:
        for host, reason in (("web.test", "tcp port 80 is not in the allow list"), (LAN, "not in the allow list")):
            assert guest.reached(host, 80, request) == "HTTP/1.1 403 Forbidden"
            answer = guest.python(f"""
                line = socket.create_connection(({host!r}, 80), 10)
                line.sendall({request.encode()!r})
                print(line.makefile().read())
            """)
            assert f"pyro: {reason}. The user can allow it" in answer, answer
        for other in ("SSH-2.0-x\r\n", "", "\x16\x03\x01"):
            assert RESET in guest.reached("web.test", 80, other), other
        assert RESET in guest.reached("web.test", 7001, request)
    with container_with_egress(testbed.container_folder(), Rules()) as guest:
        assert guest.reached(LAN, 80, request) == "HTTP/1.1 403 Forbidden"
        assert RESET in guest.reached("web.test", 81, request)
