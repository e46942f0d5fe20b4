"""Scenarios with a model whose requests the supervisor of a gateway counts."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from pyro_mcp.errors import InvalidRequest
from pyro_mcp.network import ModelRefusal, ModelRequest, ModelUsage, Reservation, Rules, launch_gateway
from tests.network.container_backend import container_with_egress
from tests.network.recording_supervisor import RecordingSupervisor, supervising
from tests.network.scenario import scenario
from tests.network.test_metering_answers import MESSAGE, START, USED, events
from tests.network.test_metering_requests import MESSAGE as ASKED
from tests.network.testbed import Testbed
from tests.waiting import until


class Model(BaseHTTPRequestHandler):
    """Streams a message as the answer to every request."""

    protocol_version = "HTTP/1.1"
    asked = 0

    def do_POST(self) -> None:
        type(self).asked += 1
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(MESSAGE), MESSAGE))

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""


@contextmanager
def model(kind: type[Model] = Model) -> Iterator[int]:
    """Serve at a port of the host's 127.0.0.1."""
    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.server_port
        finally:
            server.shutdown()


class Accountant(RecordingSupervisor):
    """A supervisor with a limit on the number of requests."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most
        self.asked: list[ModelRequest] = []
        self.used: list[tuple[str, ModelUsage]] = []

    def model_request(self, request: ModelRequest) -> Reservation | ModelRefusal:
        if len(self.asked) == self.most:
            return ModelRefusal(f"budget: {self.most} of {self.most} requests are used")
        self.asked.append(request)
        return Reservation(f"number {len(self.asked)}")

    def model_usage(self, reservation: str, usage: ModelUsage) -> None:
        self.used.append((reservation, usage))


@scenario
def a_request_to_a_model_is_counted_by_the_supervisor_and_refused_at_the_limit(testbed: Testbed) -> None:
    folder, path = testbed.container_folder(), testbed.folder / "supervisor"
    with model() as port, supervising(path, Accountant(most=1)) as guard:
        assert isinstance(guard, Accountant)
        rules = Rules(({"host": "model.test", "upstream": f"http://127.0.0.1:{port}", "meter": "anthropic"},))
        with container_with_egress(folder, rules, supervisor=path) as guest:
            program = f"""
                import http.client, json, ssl
                context = ssl.create_default_context(cafile="{folder}/root/etc/pyro-mcp/ca.pem")
                client = http.client.HTTPSConnection("model.test", timeout=20, context=context)
                client.request("POST", "/v1/messages", json.dumps({ASKED!r}), {{"Content-Type": "application/json"}})
                answer = client.getresponse()
                print(answer.status, answer.getheader("Content-Type"), answer.read().decode())
            """
            assert guest.python(program).startswith("200 text/event-stream event: message_start")
            until("the usage is reported", lambda: guard.used, bool)
            assert guard.used == [("number 1", USED)]
            assert (guard.asked[0].model, guard.asked[0].most_output) == (ASKED["model"], ASKED["max_tokens"])

            refused = guest.python(program)
            assert refused.startswith('400 application/json {"type": "error"') and "1 of 1 requests are used" in refused
            assert Model.asked == 1
            assert "refused http model.test:443/v1/messages" in guard.decisions()


@scenario
def a_meter_needs_a_supervisor(testbed: Testbed) -> None:
    rules = Rules(({"host": "model.test", "meter": "openai"},))
    with (
        pytest.raises(InvalidRequest, match="counted by the supervisor"),
        launch_gateway(testbed.folder / "sockets", testbed.folder / "network.log", rules),
    ):
        raise AssertionError("it started")


class Stalling(Model):
    """Begins its answer, and ends it only when the test is over."""

    began, over = threading.Event(), threading.Event()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        start = events(START)
        self.wfile.write(b"%x\r\n%b\r\n" % (len(start), start))
        self.wfile.flush()
        type(self).began.set()
        type(self).over.wait(60)
        self.close_connection = True


@scenario
def a_gateway_that_is_killed_in_a_stream_gives_nothing_back(testbed: Testbed) -> None:
    folder, path = testbed.container_folder(), testbed.folder / "supervisor"
    with model(Stalling) as port, supervising(path, Accountant(most=1)) as guard:
        assert isinstance(guard, Accountant)
        rules = Rules(({"host": "model.test", "upstream": f"http://127.0.0.1:{port}", "meter": "anthropic"},))
        with container_with_egress(folder, rules, supervisor=path) as guest:
            guest.start(f"""
                import http.client, json, ssl
                context = ssl.create_default_context(cafile="{folder}/root/etc/pyro-mcp/ca.pem")
                client = http.client.HTTPSConnection("model.test", timeout=60, context=context)
                client.request("POST", "/v1/messages", json.dumps({ASKED!r}), {{"Content-Type": "application/json"}})
                client.getresponse().read()
            """)
            assert Stalling.began.wait(60)
            os.kill(guest.control.info().relay_pid, signal.SIGKILL)
            assert guest.control.wait_for_end(10) and guard.gateway.wait(10)
            assert len(guard.asked) == 1 and not guard.used
        Stalling.over.set()
