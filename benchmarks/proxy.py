"""Measure our HTTP proxy: requests over TLS to a site, through the gateway and directly, in turns.

The site, the host and the guest are processes in network namespaces of our own; the guest stands for a container, so
that no machine's speed is measured. The gateway checks each request by a rule, logs it, and inserts a secret. A second
guest's gateway has a supervisor, which records each connection, request and use of the secret in a journal.
`python -m benchmarks.proxy RUNS` needs root.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
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
from claude_bottle.audit import Decision, DecisionKind, Journal
from pyro_mcp.network import (
    RESOLVER_ADDRESS,
    Authority,
    HostSecret,
    ModelRefusal,
    ModelRequest,
    ModelUsage,
    Refusal,
    Rules,
    launch_gateway,
    listen_for_gateway,
    serve_supervisor,
)
from pyro_mcp.results import NetworkLogEntry

_NEAR, _FAR, _NAME = "93.184.216.1", "93.184.216.34", "site.bench.test"
_BODY = 100_000
_REQUESTS, _EVENTS, _CONNECTIONS, _SECONDS = 200, 100, 4, 3.0
_PLACEHOLDER = "pyro-secret-KEY-0123456789abcdefghij"
_SECRET = HostSecret("KEY", _PLACEHOLDER, "key-of-the-site-0123456789abcdefghij", _NAME)


def of_proxy(runs: int) -> list[Figure]:
    """Return every figure, measured in a process of its own; needs root, for the namespaces."""
    words = ["unshare", "--net", "--mount", sys.executable, "-m", "benchmarks.proxy", "measure", str(runs)]
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, timeout=600)
    return [Figure(**figure) for figure in json.loads(done.stdout)]


def _serve(pem: str) -> None:
    """Be the site: /small, /large, and /events, whose lines say when they were sent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    answers = {
        path: b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size
        for path, size in ((b"/v1/small", 100), (b"/v1/large", _BODY))
    }

    def answer(line: socket.socket) -> None:
        with suppress(OSError), context.wrap_socket(line, server_side=True) as site:
            while head := site.recv(65536):
                path = head.split(b" ", 2)[1]
                if path == b"/v1/events":
                    _stream(site)
                else:
                    site.sendall(answers[path])

    with socket.create_server((_FAR, 443), backlog=64) as listener:
        print("listening", flush=True)
        while True:
            line, _ = listener.accept()
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=answer, args=(line,), daemon=True).start()


def _stream(site: socket.socket) -> None:
    site.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(_EVENTS):
        event = b"data: %d\n\n" % time.monotonic_ns()
        site.sendall(b"%x\r\n%b\r\n" % (len(event), event))
        time.sleep(0.005)
    site.sendall(b"0\r\n\r\n")


class _Client:
    """One TLS connection to the site, as plain as it can be."""

    def __init__(self, roots: str) -> None:
        context = ssl.create_default_context(cafile=roots)
        plain = socket.create_connection((_NAME, 443), 20)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._line = context.wrap_socket(plain, server_hostname=_NAME)

    def ask(self, path: str) -> None:
        fields = f"Host: {_NAME}\r\nAuthorization: Bearer {_PLACEHOLDER}\r\nAccept: */*\r\n"
        self._line.sendall(f"GET {path} HTTP/1.1\r\n{fields}\r\n".encode())

    def request(self, path: str, size: int) -> None:
        self.ask(path)
        data = self._line.recv(1 << 17)
        while b"\r\n\r\n" not in data:
            data += self._line.recv(1 << 17)
        head, _, body = data.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(head.decode("latin-1"))
        left = size - len(body)
        while left > 0:
            left -= len(self._line.recv(1 << 17))

    def delays(self) -> list[float]:
        """Return after how many milliseconds each event arrived."""
        self.ask("/v1/events")
        found: list[float] = []
        while len(found) < _EVENTS:
            data = self._line.recv(65536)
            now = time.monotonic_ns()
            lines = [line for line in data.split(b"\n") if line.startswith(b"data: ")]
            found += [(now - int(line[6:])) / 1e6 for line in lines]
        return found

    def close(self) -> None:
        self._line.close()


def _act(roots: str) -> None:
    """Be a client: read what to measure, one word a line, and print the result as JSON."""
    for word in sys.stdin:
        print(json.dumps({"small": _small, "new": _new, "rate": _rate, "events": _events}[word.strip()](roots)))
        sys.stdout.flush()


def _small(roots: str) -> float:
    client = _Client(roots)
    taken = []
    for _ in range(_REQUESTS):
        started = time.perf_counter()
        client.request("/v1/small", 100)
        taken.append((time.perf_counter() - started) * 1000)
    client.close()
    return statistics.median(taken)


def _new(roots: str) -> float:
    taken = []
    for _ in range(_REQUESTS // 5):
        started = time.perf_counter()
        client = _Client(roots)
        client.request("/v1/small", 100)
        taken.append((time.perf_counter() - started) * 1000)
        client.close()
    return statistics.median(taken)


def _rate(roots: str) -> float:
    """Return requests per second over several connections at once."""
    counts, end = [], time.monotonic() + _SECONDS

    def ask() -> None:
        client, count = _Client(roots), 0
        while time.monotonic() < end:
            client.request("/v1/large", _BODY)
            count += 1
        counts.append(count)
        client.close()

    threads = [threading.Thread(target=ask) for _ in range(_CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / _SECONDS


def _events(roots: str) -> float:
    client = _Client(roots)
    try:
        return statistics.median(client.delays())
    finally:
        client.close()


@contextmanager
def _started(*words: str, before: Sequence[str] = ()) -> Iterator[subprocess.Popen[str]]:
    argv = ["setpriv", "--pdeathsig", "KILL", *before, sys.executable, "-m", "benchmarks.proxy", *words]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def _ip(words: str) -> None:
    subprocess.run(["ip", *words.split()], check=True)


@contextmanager
def _site(folder: Path, pem: Path) -> Iterator[None]:
    """Start the site in a namespace of its own, and a cable to it."""
    _ip("link set lo up")
    with _started("site", str(pem), before=["unshare", "--net"]) as site:
        assert site.stdin is not None and site.stdout is not None
        site.stdout.readline()
        _ip(f"link add near type veth peer name far netns {site.pid}")
        _ip(f"addr add {_NEAR}/24 dev near")
        _ip("link set near up")
        site.stdin.write("\n")
        site.stdin.flush()
        site.stdout.readline()
        for name, text in (("hosts", f"127.0.0.1 localhost\n{_FAR} {_NAME}\n"), ("resolv.conf", "")):
            (folder / name).write_text(text)
            subprocess.run(["mount", "--bind", str(folder / name), f"/etc/{name}"], check=True)
        yield


def _measure(runs: int) -> list[Figure]:
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    with tempfile.TemporaryDirectory(prefix="pyro-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        world = Authority(folder / "world", [_NAME])
        (folder / "world.pem").write_bytes(world.certificate)
        (folder / "site.pem").write_text(world.identities[_NAME])
        os.environ["SSL_CERT_FILE"] = str(folder / "world.pem")
        stack.enter_context(_site(folder, folder / "site.pem"))
        # An entry of this very network, since the namespace's cable makes it the host's own.
        rules = Rules(({"host": _NAME, "methods": ["GET"], "paths": ["/v1/*"]}, f"{_FAR}/32"))
        authority = Authority(folder / "authority", [_NAME])
        (folder / "ca.pem").write_bytes(authority.certificate)
        (folder / "guest-resolv.conf").write_text(f"nameserver {RESOLVER_ADDRESS}\n")
        direct = stack.enter_context(_started("client", str(folder / "world.pem")))
        supervisor = stack.enter_context(_started("supervisor", str(folder)))
        assert supervisor.stdout is not None
        supervisor.stdout.readline()
        guests = []
        for own, path in (("alone", None), ("supervised", folder / "supervisor")):
            guest = stack.enter_context(
                _started("guest", str(folder), str(folder / "ca.pem"), before=["unshare", "--net", "--mount"])
            )
            assert guest.stdout is not None
            guest.stdout.readline()
            namespace = Path(f"/proc/{guest.pid}/ns/net")
            with launch_gateway(
                folder / own, folder / "log", rules, [_SECRET], authority, namespace=namespace, supervisor=path
            ) as gateway:
                gateway.attach_to_process(guest.pid)
            guests.append(guest)
        return _figures(guests, direct, runs)


class _Recorder:
    """A supervisor that records every decision in a journal, and allows every use of a secret."""

    def __init__(self, folder: Path) -> None:
        self._journal = Journal(folder / "journal.jsonl")

    def decided(self, entry: NetworkLogEntry) -> str:
        self._add("egress", entry["verdict"], **entry)
        return ""

    def connect(self, name: str) -> Refusal:
        return Refusal(name)

    def secret_use(self, secret: str, host: str, method: str, path: str) -> str:
        self._add("secret", "allowed", secret=secret, host=host, method=method, path=path)
        return ""

    def model_request(self, request: ModelRequest) -> ModelRefusal:
        return ModelRefusal(request.model)

    def model_usage(self, reservation: str, usage: ModelUsage) -> None:
        raise RuntimeError((reservation, usage))

    def _add(self, kind: DecisionKind, decision: Decision, **what: object) -> None:
        self._journal.add(kind, decision, slug="bench", bottle="bench", agent="bench", who="policy", rule="", what=what)


def _figures(guests: Sequence[subprocess.Popen[str]], direct: subprocess.Popen[str], runs: int) -> list[Figure]:
    guest, supervised = guests
    found: dict[str, list[tuple[float, float]]] = {}
    for _ in range(runs):
        for what in ("small", "new", "rate", "events"):
            found.setdefault(what, []).append((_asked(guest, what), _asked(direct, what)))
        for what in ("small", "new", "rate"):
            found.setdefault(f"supervised {what}", []).append((_asked(supervised, what), _asked(direct, what)))
    added = {what: [through - alone for through, alone in pairs] for what, pairs in found.items()}
    return [
        Figure("https request of a supervised guest: added", "ms", added["supervised small"], 3),
        Figure("the same on a new connection: added", "ms", added["supervised new"]),
        Figure(
            "https requests of 100 KB of a supervised guest",
            "1/s",
            [one for one, _ in found["supervised rate"]],
            200,
            more_is_better=True,
        ),
        Figure("https request: added by the proxy", "ms", added["small"], 3),
        Figure("https request on a new connection: added", "ms", added["new"]),
        Figure("event of a stream: added delay", "ms", added["events"], 3),
        Figure("https requests of 100 KB", "1/s", [one for one, _ in found["rate"]], 200, more_is_better=True),
        Figure("the same directly", "1/s", [one for _, one in found["rate"]], more_is_better=True),
    ]


def _asked(client: subprocess.Popen[str], what: str) -> float:
    assert client.stdin is not None and client.stdout is not None
    client.stdin.write(f"{what}\n")
    client.stdin.flush()
    return float(json.loads(client.stdout.readline()))


def main(arguments: Sequence[str]) -> None:
    """Be one of the processes; or measure, and print the figures as JSON; or measure, and print a table."""
    match arguments:
        case ["site", pem]:
            print("here", flush=True)
            sys.stdin.readline()
            for words in ("link set lo up", f"addr add {_FAR}/24 dev far", "link set far up"):
                _ip(words)
            _serve(pem)
        case ["guest", folder, roots]:
            subprocess.run(["mount", "--bind", f"{folder}/guest-resolv.conf", "/etc/resolv.conf"], check=True)
            subprocess.run(["umount", "/etc/hosts"], check=True)
            print("here", flush=True)
            _act(roots)
        case ["supervisor", folder]:
            with listen_for_gateway(Path(folder, "supervisor")) as listener:
                print("here", flush=True)
                channel, _ = listener.accept()
            serve_supervisor(channel, _Recorder(Path(folder))).wait()
        case ["client", roots]:
            _act(roots)
        case ["measure", runs]:
            names = ("name", "unit", "samples", "target", "more_is_better")
            print(json.dumps([{name: getattr(one, name) for name in names} for one in _measure(int(runs))]))
        case _:
            print(table(of_proxy(int(arguments[0]) if arguments else 5)))


if __name__ == "__main__":
    main(sys.argv[1:])
