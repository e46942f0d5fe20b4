"""Scenarios with a gateway that another process supervises."""

from __future__ import annotations

import hashlib
import socket
import threading
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from pyro_mcp.errors import HostNotReady, InvalidRequest
from pyro_mcp.network import AllowGiven, HostSecret, Rules, launch_gateway
from pyro_mcp.results import NetworkLogEntry
from tests.network.internet import SITE_KEY, SITE_NAME, WEB
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
            said = guest.python(f"socket.create_connection(({WEB!r}, 7000), 0.5)")
            assert "timed out" in said or "unreachable" in said, said
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
    """A supervisor that serves HTTP, and at echo.bottle.internal an echo."""

    def serve_name(self, name: str, sock: socket.socket) -> None:
        threading.Thread(target=self._serve, args=(name, sock), daemon=True).start()

    def _serve(self, name: str, sock: socket.socket) -> None:
        with sock, suppress(OSError):
            if name != "echo.bottle.internal":
                Answering(sock, ("guest", 0), None)  # type: ignore[arg-type]
            else:
                while data := sock.recv(65536):
                    sock.sendall(data)


SECRET = HostSecret("SITE", "pyro-secret-SITE-0123456789ab", SITE_KEY, SITE_NAME)


def https(folder: Path, host: str, path: str, *, placeholder: str = SECRET.placeholder) -> str:
    """Return a program for a container that prints the status and the content of an answer."""
    return f"""
        import http.client, ssl
        context = ssl.create_default_context(cafile="{folder}/root/etc/pyro-mcp/ca.pem")
        client = http.client.HTTPSConnection({host!r}, timeout=10, context=context)
        client.request("GET", {path!r}, headers={{"Authorization": "Bearer {placeholder}"}})
        answer = client.getresponse()
        print(answer.status, answer.read().decode())
    """


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
        upstreams = [entry["upstream"] for entry in guest.log() if entry["name"] == "git.bottle.internal"]
        assert upstreams.count("supervisor") == 6, upstreams
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

        def counted() -> int:
            return sum(int(one["reason"].split()[0]) for one in guard.entries if one["protocol"] == "any")

        until("the flood is counted", counted, lambda count: count > 10)
        for _ in range(5):
            assert guest.reached("web.test", 7000) == f"{WEB} 7000"
        assert sum(entry["verdict"] == "allowed" for entry in guard.entries) == 5
        refused = [entry for entry in guard.entries if entry["verdict"] == "refused" and entry["protocol"] != "any"]
        assert 4 <= len(refused) <= 16, refused  # at most 4 at once, and each is given up after a while
        Slow.released.set()


@scenario
def other_rules_count_at_once_and_cut_what_they_no_longer_allow(testbed: Testbed) -> None:
    path = testbed.folder / "supervisor"
    open_all = """
        import time
        def stream(host):
            line = socket.create_connection((host, 7000), 30)
            line.recv(100)
            return line
        def flow(host):
            line = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            line.settimeout(30)
            line.connect((host, 7001))
            line.send(b"x")
            line.recv(10)
            return line
        names = ["web.test", "other.test"]
        lines = {f"{make.__name__} {name}": make(name) for name in names for make in (stream, flow)}
        print("open", flush=True)
        cut = [name for name, line in lines.items() if name == "stream web.test" and line.recv(1) == b""]
        def is_cut(line):
            try:
                line.send(b"y")
                return not line.recv(10)
            except OSError:
                return True
        end = time.monotonic() + 20  # the stream and the flow are cut one after the other
        while not is_cut(lines["flow web.test"]) and time.monotonic() < end:
            time.sleep(0.05)
        cut += [name for name, line in lines.items() if is_cut(line)]
        print(sorted(set(cut)))
    """
    ports = ("7000", "7001")
    allow = [f"{name}:{port}" for name in ("web.test", "other.test") for port in ports]
    with supervising(path, RecordingSupervisor()) as guard, testbed.guest(*allow, supervisor=path) as guest:
        running = threading.Thread(target=lambda: said.append(guest.python(open_all)))
        said: list[str] = []
        running.start()
        opened = [f"allowed {kind} {name}" for kind, name in (("tcp", "other.test:7000"), ("udp", "other.test:7001"))]
        until("all are open", guard.decisions, lambda found: set(opened) <= set(found))
        until(
            "the last has begun", lambda: [one for one in guest.log() if one["port"] == 7001], lambda log: len(log) == 2
        )
        guard.gateway.set_rules(Rules(("other.test:7000", "other.test:7001", f"{WEB}:80")))
        running.join(90)
        assert said == ["open\n['flow web.test', 'stream web.test']"], said
        assert UNKNOWN in guest.reached("web.test", 7000)
        assert guest.reached("other.test", 7000).endswith(" 7000")
        assert [one for one in guard.entries if "withdrawn" in one["reason"]] != []
        guard.gateway.set_rules(Rules(("web.test:7000",)))
        assert guest.reached("web.test", 7000) == f"{WEB} 7000"
        for impossible, why in (
            (Rules(("web.test",), published=True), "publishing of ports"),
            (Rules(({"host": "web.test", "methods": ["GET"]},)), "TLS to web.test does not end"),
            (Rules(({"host": "x.test:81", "upstream": "supervisor"},)), "reads no requests"),
        ):
            with pytest.raises(InvalidRequest, match=why):
                guard.gateway.set_rules(impossible)
        assert guest.reached("web.test", 7000) == f"{WEB} 7000"


@scenario
def a_connection_whose_requests_are_read_is_cut_when_its_rule_is_withdrawn(testbed: Testbed) -> None:
    path = testbed.folder / "supervisor"
    kept, gone = to_supervisor("git.bottle.internal:80", "other.bottle.internal:80")
    with supervising(path, Serving()) as guard, testbed.guest(kept, gone, supervisor=path) as guest:
        running = threading.Thread(
            target=lambda: said.append(
                guest.python("""
                    import http.client
                    lines = {}
                    for name in ("git", "other", "git"):
                        new = http.client.HTTPConnection(f"{name}.bottle.internal", timeout=20)
                        lines.setdefault(name, new)
                        lines[name].request("POST", "/x", body=b"1")
                        lines[name].getresponse().read()
                    print(lines["other"].sock.recv(1))
                    lines["git"].request("POST", "/x", body=b"2")
                    print(lines["git"].getresponse().status)
                """)
            )
        )
        said: list[str] = []
        running.start()
        until("both are open", lambda: [one["protocol"] for one in guard.entries].count("http"), lambda seen: seen == 3)
        guard.gateway.set_rules(Rules((kept,)))
        running.join(30)
        assert said == ["b''\n200"], said
