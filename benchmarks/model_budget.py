"""Measure what counting the requests to a model adds: the same proxy with a meter and without, in turns.

The site, the proxy and the guard are processes of their own, connected over loopback without TLS. The guard has the
real budget, ledger and journal. A request of 88 KB is what Claude Code sends first. `python -m benchmarks.model_budget
RUNS`.
"""

from __future__ import annotations

import json
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from benchmarks.figures import Figure, table
from claude_bottle.audit import Decision, Journal
from claude_bottle.budget.budget import Budget
from claude_bottle.budget.ledger import Ledger, Run
from claude_bottle.budget.limits import limits_of
from claude_bottle.budget.prices import Prices
from pyro_mcp.network import (
    ModelRefusal,
    ModelRequest,
    ModelUsage,
    Refusal,
    Reservation,
    listen_for_gateway,
    serve_supervisor,
)
from pyro_mcp.network.http.http_proxy import HttpProxy, Site
from pyro_mcp.network.http.metered import Meter
from pyro_mcp.network.http.plain_socket import PlainSocket
from pyro_mcp.network.supervision.client import SupervisorClient, connect_to_supervisor
from pyro_mcp.redaction import Mask
from pyro_mcp.results import NetworkLogEntry

_REQUESTS, _EVENTS, _REQUEST_BYTES = 40, 20, 88_000
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_RUN = Run("bench", "bench", "bench")


def of_model_budget(runs: int) -> list[Figure]:
    """Return every figure."""
    with tempfile.TemporaryDirectory(prefix="pyro-bench-") as name, ExitStack() as stack:
        stack.enter_context(_started("guard", name))
        site = stack.enter_context(_started("site"))
        ports = stack.enter_context(_started("proxy", name, site)).split()
        found: dict[str, list[tuple[float, float, float]]] = {port: [] for port in ports}
        for _ in range(runs):
            for port in ports:
                found[port].append(_ask(int(port)))
    plain, metered = (found[port] for port in ports)
    pairs = zip(metered, plain, strict=True)
    added = [[with_it - without for with_it, without in zip(*pair, strict=True)] for pair in pairs]
    return [
        Figure("request of 88 KB to a metered model: added until its first byte", "ms", [one[0] for one in added], 20),
        Figure("first event of its answer: added delay", "ms", [one[1] for one in added], 3),
        Figure("later event of its answer: added delay", "ms", [one[2] for one in added], 3),
    ]


def _ask(port: int) -> tuple[float, float, float]:
    """Return medians: from the request to the first event, and how long the first and the later events travel."""
    asked = {"model": "claude-sonnet-5-5", "max_tokens": 32000, "stream": True}
    content = json.dumps({**asked, "messages": [{"role": "user", "content": "x " * (_REQUEST_BYTES // 2)}]}).encode()
    head = "POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    request = f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content
    waits, firsts, others = list[float](), list[float](), list[float]()
    with socket.create_connection(("127.0.0.1", port), 20) as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(_REQUESTS):
            started, seen, data = time.monotonic_ns(), 0, b""
            line.sendall(request)
            while not data.endswith(b"0\r\n\r\n"):
                received = line.recv(65536)
                if not received:
                    raise RuntimeError(data.decode("latin-1"))
                now, before = time.monotonic_ns(), len(data)
                data += received
                for text in data[max(0, before - 200) :].split(b'"at": ')[1:]:
                    at, ended, _ = text.partition(b"}")
                    if ended and int(at) > seen:
                        (others if seen else firsts).append((now - int(at)) / 1e6)
                        if not seen:
                            waits.append((now - started) / 1e6)
                        seen = int(at)
    return statistics.median(waits), statistics.median(firsts), statistics.median(others)


def _serve_site() -> None:
    """Be the site: stream events that say when they were sent."""
    usage = {"input_tokens": 9, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0, "output_tokens": 1}

    def event(kind: str, **more: object) -> bytes:
        data = json.dumps({"type": kind, **more, "at": time.monotonic_ns()})
        text = f"event: {kind}\ndata: {data}\n\n".encode()
        return b"%x\r\n%b\r\n" % (len(text), text)

    def answer(line: socket.socket) -> None:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with line, suppress(OSError), line.makefile("rb") as reader:
            while reader.readline():
                size = 0
                while field := reader.readline().strip():
                    size = int(field.split()[1]) if field.lower().startswith(b"content-length") else size
                reader.read(size)
                line.sendall(_HEAD + event("message_start", message={"usage": usage}))
                for _ in range(_EVENTS):
                    time.sleep(0.002)  # as a model that thinks
                    line.sendall(event("content_block_delta", delta={"type": "text_delta", "text": "usage " * 4}))
                stopped = event("message_delta", delta={"stop_reason": "end_turn"}, usage=usage)
                line.sendall(stopped + b"0\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()


def _serve_proxies(folder: str, site_port: str) -> None:
    """Be the proxy, at one port without and at one with a meter."""
    client = SupervisorClient(connect_to_supervisor(Path(folder, "supervisor")))
    client.start()

    def connect() -> PlainSocket:
        return PlainSocket(socket.create_connection(("127.0.0.1", int(site_port)), 10))

    def serve(listener: socket.socket, meter: Meter | None) -> None:
        site = Site("localhost", 80, (), Mask({}), (), lambda *_: "", meter)
        while True:
            guest = PlainSocket(listener.accept()[0])
            threading.Thread(target=HttpProxy(guest, site, connect).run, daemon=True).start()

    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    print(*(one.getsockname()[1] for one in listeners), flush=True)
    threading.Thread(target=serve, args=(listeners[0], None), daemon=True).start()
    serve(listeners[1], Meter("anthropic", client))


class _Guard:
    """A supervisor with a budget that nothing passes."""

    def __init__(self, folder: Path) -> None:
        journal = Journal(folder / "audit/journal.jsonl")

        def record(decision: Decision, rule: str, what: dict[str, object]) -> None:
            journal.add("budget", decision, slug="b-1", bottle="b", agent="a", who="policy", rule=rule, what=what)

        (folder / "budget").mkdir()
        limits = limits_of({"usd": 10**6, "day": {"usd": 10**6}, "bottle": {"usd": 10**6}})
        self._budget = Budget(Ledger(folder / "budget/budget.db"), _RUN, limits, Prices(), record=record)

    def decided(self, entry: NetworkLogEntry) -> str:
        return str(entry["reason"])

    def connect(self, name: str) -> Refusal:
        return Refusal(name)

    def secret_use(self, secret: str, host: str, method: str, path: str) -> str:
        return f"{secret} {host} {method} {path}"

    def model_request(self, request: ModelRequest) -> Reservation | ModelRefusal:
        return self._budget.model_request(request)

    def model_usage(self, reservation: str, usage: ModelUsage) -> None:
        self._budget.model_usage(reservation, usage)


@contextmanager
def _started(*words: str) -> Iterator[str]:
    """Start one of the processes; yields its first line."""
    argv = ["setpriv", "--pdeathsig", "KILL", sys.executable, "-m", "benchmarks.model_budget", *words]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def main(arguments: Sequence[str]) -> None:
    """Be one of the processes, or measure and print a table."""
    match arguments:
        case ["guard", folder]:
            with listen_for_gateway(Path(folder, "supervisor")) as listener:
                print("here", flush=True)
                channel, _ = listener.accept()
            serve_supervisor(channel, _Guard(Path(folder))).wait()
        case ["site"]:
            _serve_site()
        case ["proxy", folder, site_port]:
            _serve_proxies(folder, site_port)
        case _:
            print(table(of_model_budget(int(arguments[0]) if arguments else 5)))


if __name__ == "__main__":
    main(sys.argv[1:])
