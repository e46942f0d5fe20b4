"""Scenarios with a gateway that another process supervises."""

from __future__ import annotations

import hashlib
import socket
import threading
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler

import pytest

from pyro_mcp.errors import HostNotReady, InvalidRequest
from pyro_mcp.network import AllowGiven, Rules, launch_gateway
from pyro_mcp.results import NetworkLogEntry
from tests.network.internet import WEB
from tests.network.recording_supervisor import RecordingSupervisor, supervising
from tests.network.scenario import RESET, UNKNOWN, scenario
from tests.network.testbed import Testbed
from tests.waiting import until

REQUEST = "GET / HTTP/1.1\r\nHost: web.test\r\n\r\n"


@scenario
def each_decision_is_at_the_supervisor_before_it_takes_effect(testbed: Testbed) -> None:
    path = testbed.folder / "supervisor"
    with supervising(path, RecordingSupervisor()) as guard, testbed.guest("web.test:7000", supervisor=path) as guest:
        guard.text = "asked as r7"
        assert guest.reached("web.test", 7000) == f"{WEB} 7000"
        assert UNKNOWN in guest.reached("other.test", 7000)
        assert RESET in guest.reached(WEB, 7000)
        assert guard.decisions() == [
            "allowed tcp web.test:7000", "refused dns other.test:None", f"refused tcp {WEB}:7000"
        ]  # fmt: skip
        answer = guest.python(f"""
            line = socket.create_connection(("web.test", 80), 10)
            line.sendall({REQUEST.encode()!r})
            print(line.makefile().read())
        """)
        assert "pyro: tcp port 80 is not in the allow list; asked as r7." in answer, answer


@scenario
def what_the_supervisor_does_not_record_does_not_happen(testbed: Testbed) -> None:
    path = testbed.folder / "supervisor"
    with supervising(path, RecordingSupervisor()) as guard, testbed.guest("web.test:7000", supervisor=path) as guest:
        assert guest.reached("web.test", 7000) == f"{WEB} 7000"
        guard.fails = True
        assert RESET in guest.reached("web.test", 7000)
        guard.fails = False
        assert guest.reached("web.test", 7000) == f"{WEB} 7000"


@scenario
def a_gateway_does_not_start_without_its_supervisor(testbed: Testbed) -> None:
    folder, log = testbed.folder / "sockets", testbed.folder / "network.log"
    absent = testbed.folder / "absent"
    with pytest.raises(HostNotReady, match="does not answer"), launch_gateway(folder, log, Rules(), supervisor=absent):
        raise AssertionError("it started")


@scenario
def a_gateway_ends_with_its_supervisor_and_the_supervisor_sees_its_end(testbed: Testbed) -> None:
    path = testbed.folder / "supervisor"
    with supervising(path, RecordingSupervisor()) as guard:
        with testbed.guest(supervisor=path) as guest:
            assert guest.reached(WEB, 7000) == f"{WEB} 7000"
            assert not guard.gateway.wait(0)
            guard.gateway.close()
            assert guest.control.wait_for_end(5)
            assert "timed out" in guest.reached(WEB, 7000) or "unreachable" in guest.reached(WEB, 7000)
        with testbed.guest(supervisor=path) as guest:
            assert guest.reached(WEB, 7000) == f"{WEB} 7000"
            guest.close_lifetime()
            assert guard.gateway.wait(10)


class Answering(BaseHTTPRequestHandler):
    """Answers a POST with the digest of its content, and a GET with events, the last after the next POST."""

    protocol_version = "HTTP/1.1"
    posted = threading.Event()

    def do_POST(self) -> None:
        digest, left = hashlib.sha256(), int(self.headers["Content-Length"])
        while left:
            piece = self.rfile.read(min(left, 65536))
            digest.update(piece)
            left -= len(piece)
        self._head("text/plain", 64)
        self.wfile.write(digest.hexdigest().encode())
        self.posted.set()

    def do_GET(self) -> None:
        self._head("text/event-stream", 10)
        self.wfile.write(b"data: ")
        self.posted.clear()
        assert self.posted.wait(20)
        self.wfile.write(b"end\n")

    def _head(self, kind: str, size: int) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(size))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""


class Serving(RecordingSupervisor):
    """A supervisor that serves HTTP at git.bottle.internal, and echoes what others send."""

    def serve_name(self, name: str, sock: socket.socket) -> None:
        threading.Thread(target=self._serve, args=(name, sock), daemon=True).start()

    def _serve(self, name: str, sock: socket.socket) -> None:
        with sock, suppress(OSError):
            if name == "git.bottle.internal":
                Answering(sock, ("guest", 0), None)  # type: ignore[arg-type]
            else:
                while data := sock.recv(65536):
                    sock.sendall(data)


def to_supervisor(*hosts: str) -> list[AllowGiven]:
    return [{"host": host, "upstream": "supervisor"} for host in hosts]


@scenario
def a_name_leads_to_the_supervisor_with_streams_and_large_contents(testbed: Testbed) -> None:
    path = testbed.folder / "supervisor"
    allow = to_supervisor("git.bottle.internal:80", "echo.bottle.internal:7007", "refused.bottle.internal:80")
    with supervising(path, Serving()) as guard, testbed.guest(*allow, supervisor=path) as guest:
        said = guest.python("""
            import hashlib, http.client, os
            client = http.client.HTTPConnection("git.bottle.internal", timeout=60)
            for size in (1, 20 << 20):
                content = os.urandom(size)
                client.request("POST", "/x", body=content)
                assert client.getresponse().read().decode() == hashlib.sha256(content).hexdigest()
            watching = http.client.HTTPConnection("git.bottle.internal", timeout=60)
            watching.request("GET", "/events")
            events = watching.getresponse()
            assert events.read(6) == b"data: "
            client.request("POST", "/x", body=b"go on")
            client.getresponse().read()
            print(events.read().decode())
        """)
        assert said == "end"
        assert guest.reached("echo.bottle.internal", 7007, "back\n") == "back"
        for host, port in (("echo.bottle.internal", 80), ("git.bottle.internal", 443), ("x.git.bottle.internal", 80)):
            said = guest.reached(host, port)
            assert RESET in said or UNKNOWN in said, said
        refused = guest.reached("refused.bottle.internal", 80, REQUEST.replace("web.test", "refused.bottle.internal"))
        assert refused.startswith("HTTP/1.1 502"), refused
        assert [one for one in guard.decisions() if one.startswith("allowed")] == [
            "allowed http git.bottle.internal:80/x",
            "allowed tcp git.bottle.internal:80",
            "allowed http git.bottle.internal:80/events",
            "allowed tcp echo.bottle.internal:7007",
            "allowed http refused.bottle.internal:80/",
            "allowed tcp refused.bottle.internal:80",
        ]
        log = [entry["upstream"] for entry in guest.log() if entry["name"] == "git.bottle.internal"]
        assert log.count("supervisor") == 6, log
    folder, log = testbed.folder / "sockets", testbed.folder / "network.log"
    with pytest.raises(InvalidRequest, match="has none"), launch_gateway(folder, log, Rules(tuple(allow))):
        raise AssertionError("it started")


@scenario
def a_flood_of_refusals_is_counted_and_does_not_delay_what_is_allowed(testbed: Testbed) -> None:
    path = testbed.folder / "supervisor"

    class Slow(RecordingSupervisor):
        """A supervisor that does not come to an end with any refusal."""

        released = threading.Event()

        def decided(self, entry: NetworkLogEntry) -> str:
            text = super().decided(entry)
            if entry["verdict"] == "refused" and entry["protocol"] != "any":
                self.released.wait(60)
            return text

    with supervising(path, Slow()) as guard, testbed.guest("web.test:7000", supervisor=path) as guest:
        guest.start(f"""
            import socket, time
            while True:
                try: socket.create_connection(({WEB!r}, 7001), 5)
                except OSError: pass
        """)
        until("the flood is counted", lambda: [one for one in guard.entries if one["protocol"] == "any"], bool)
        for _ in range(20):
            assert guest.reached("web.test", 7000) == f"{WEB} 7000"
        refused = [entry for entry in guard.entries if entry["verdict"] == "refused" and entry["protocol"] != "any"]
        assert len(refused) == 4
        counted = next(entry for entry in guard.entries if entry["protocol"] == "any")
        assert int(counted["reason"].split()[0]) > 10, counted
        assert sum(entry["verdict"] == "allowed" for entry in guard.entries) == 20
        Slow.released.set()
