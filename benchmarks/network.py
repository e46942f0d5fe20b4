"""Measure the network: machines with it against machines without, and a server in a namespace of our own.

The measuring process has a network namespace for itself, with one cable to a second one that plays the internet. Its
server has a public address behind a router, since machines do not reach the networks of the host. Nothing reaches the
machine's real network.
"""

from __future__ import annotations

import http.client
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from benchmarks.figures import Figure
from pyro_mcp import Pyro

_NEAR, _ROUTER, _FAR, _PORT = "192.0.2.1", "192.0.2.2", "93.184.216.34", 8080
_REQUESTS = 30
_DOWNLOAD_BYTES = 200_000_000
_MB = 1_000_000
_DEADLINE = 30.0

# Both run in the guest, whose Python may be a small one.
_DOWNLOAD = """
import socket, sys, time
started, total = time.monotonic(), 0
with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as server:
    server.sendall(b"GET /large HTTP/1.0\\r\\n\\r\\n")
    while piece := server.recv(1 << 18):
        total += len(piece)
print(total, time.monotonic() - started)
"""
_ASK = """
import socket, sys, time
for _ in range(int(sys.argv[3])):
    started = time.monotonic()
    with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as server:
        server.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
        while server.recv(4096):
            pass
    print((time.monotonic() - started) * 1000)
"""


def of_network(environment: str, state: Path, runs: int) -> list[Figure]:
    """Return every figure, measured in a process of its own; needs root, for the namespaces."""
    words = ["unshare", "--net", "--mount", sys.executable, "-m", "benchmarks.network", environment, str(state)]
    done = subprocess.run([*words, str(runs)], check=True, stdout=subprocess.PIPE, timeout=600)
    return [Figure(**figure) for figure in json.loads(done.stdout)]


class _Server(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        size = _DOWNLOAD_BYTES if self.path == "/large" else 100
        self.send_response(200)
        self.send_header("Content-Length", str(size))
        self.end_headers()
        piece = bytes(1 << 20)
        for start in range(0, size, len(piece)):
            self.wfile.write(piece[: size - start])

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def _internet() -> Iterator[None]:
    """Yield a second namespace with a server at `_FAR`, and a virtual cable to it."""
    _ip("link set lo up")
    with subprocess.Popen(
        ["unshare", "--net", "--kill-child", sys.executable, "-m", "benchmarks.network", "serve"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as far:
        assert far.stdin is not None and far.stdout is not None
        try:
            far.stdout.readline()
            _ip(f"link add near type veth peer name far netns {far.pid}")
            for words in (f"addr add {_NEAR}/30 dev near", "link set near up", f"route add default via {_ROUTER}"):
                _ip(words)
            far.stdin.write(b"\n")
            far.stdin.flush()
            far.stdout.readline()
            yield
        finally:
            far.kill()


def _serve() -> None:
    print("there", flush=True)
    sys.stdin.readline()
    for words in ("link set lo up", f"addr add {_FAR}/32 dev lo", f"addr add {_ROUTER}/30 dev far", "link set far up"):
        _ip(words)
    server = ThreadingHTTPServer((_FAR, _PORT), _Server)
    print("listening", flush=True)
    server.serve_forever()


def _ip(words: str) -> None:
    subprocess.run(["ip", *words.split()], check=True)


def _measure(environment: str, state: Path, runs: int) -> list[Figure]:
    pyro = Pyro(state=state)
    with _internet():
        without, with_network = (_creates(pyro, environment, policy, runs) for policy in ("off", "egress"))
        direct = [_asked(_FAR, _PORT) for _ in range(_REQUESTS)]
        id_ = pyro.create_workspace(environment, network_policy="egress+published-ports")["workspace_id"]
        try:
            published, own_time = _published(pyro, id_)
            asked = _guest(pyro, id_, _ASK, _FAR, str(_PORT), str(_REQUESTS)).split()
            within = _guest(pyro, id_, _LOCAL + _ASK, "127.0.0.1", "8080", str(_REQUESTS)).split()
            downloads = [_guest(pyro, id_, _DOWNLOAD, _FAR, str(_PORT)).split() for _ in range(runs)]
        finally:
            pyro.delete_workspace(id_)
    base = statistics.median(without)
    own = statistics.median(direct) + statistics.median(map(float, within))
    return [
        Figure("create with egress: added", "ms", [sample - base for sample in with_network], 300),
        Figure("request: added by the gateway", "ms", [float(sample) - own for sample in asked], 5),
        Figure("published port: added to a request", "ms", [sample - own_time for sample in published], 10),
        Figure("download", "MB/s", [float(n) / float(s) / _MB for n, s in downloads], 30, more_is_better=True),
    ]


# A server inside the guest: what a request costs there without any gateway.
_LOCAL = """
import threading, socket
listener = socket.create_server(("127.0.0.1", 8080))
def answer():
    while True:
        client, _ = listener.accept()
        client.recv(4096)
        client.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\n" + bytes(100))
        client.close()
threading.Thread(target=answer, daemon=True).start()
"""


def _published(pyro: Pyro, id_: str) -> tuple[list[float], float]:
    """Measure requests to a service through its published port, and one within the guest."""
    started = pyro.start_service(
        id_,
        "app",
        command=["python3", "-m", "http.server", "--directory", "/workspace", "8000"],
        readiness={"type": "tcp", "port": 8000},
        published_ports=[{"guest_port": 8000}],
    )
    [port] = started["published_ports"]
    taken = [_asked("127.0.0.1", port["host_port"]) for _ in range(_REQUESTS)]
    within = _guest(pyro, id_, _ASK, "127.0.0.1", "8000", str(_REQUESTS)).split()
    return taken, statistics.median(map(float, within))


def _creates(pyro: Pyro, environment: str, policy: str, runs: int) -> list[float]:
    _created(pyro, environment, policy)  # the template, if there is none yet
    return [_created(pyro, environment, policy) for _ in range(runs)]


def _created(pyro: Pyro, environment: str, policy: str) -> float:
    started = time.perf_counter()
    id_ = pyro.create_workspace(environment, network_policy=policy)["workspace_id"]
    pyro.exec_workspace(id_, command=["true"])
    took = (time.perf_counter() - started) * 1000
    pyro.delete_workspace(id_)
    return took


def _asked(host: str, port: int) -> float:
    started = time.perf_counter()
    server = http.client.HTTPConnection(host, port, timeout=_DEADLINE)
    server.request("GET", "/")
    server.getresponse().read()
    server.close()
    return (time.perf_counter() - started) * 1000


def _guest(pyro: Pyro, id_: str, program: str, *arguments: str) -> str:
    done = pyro.exec_workspace(id_, command=["python3", "-c", program, *arguments], timeout_seconds=120)
    if done["exit_code"] != 0:
        raise RuntimeError(f"a program in the guest failed: {done['stderr']}")
    return done["stdout"]


def main(arguments: Sequence[str]) -> None:
    """Serve, or measure and print the figures as JSON."""
    if arguments == ["serve"]:
        _serve()
        return
    environment, state, runs = arguments
    figures = _measure(environment, Path(state), int(runs))
    names = ("name", "unit", "samples", "target", "more_is_better")
    print(json.dumps([{name: getattr(figure, name) for name in names} for figure in figures]))


if __name__ == "__main__":
    main(sys.argv[1:])
