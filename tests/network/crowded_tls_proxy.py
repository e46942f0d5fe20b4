"""Serves many connections at once by the TLS proxy, to machines that read nothing of large answers.

`python -m tests.network.crowded_tls_proxy FOLDER COUNT` prints how many KiB of memory that took.
"""

from __future__ import annotations

import os
import socket
import ssl
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pyro_mcp.network.gateway.threads import spawn
from tests.network.tls_site import HOST, SECRET, Web

_SETTLED_SECONDS = 1.0
_DEADLINE = 90.0


def main() -> None:
    web, count = Web(Path(sys.argv[1])), int(sys.argv[2])
    pairs = [(socket.socketpair(), socket.socketpair()) for _ in range(count)]
    measured, told = os.pipe()
    serving = os.fork()
    if serving == 0:
        _serve(web, pairs, told)
    for (_, guest), (upstream, _) in pairs:
        guest.close()
        upstream.close()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    (Path(sys.argv[1]) / "host.pem").write_text(web.identity)
    context.load_cert_chain(Path(sys.argv[1]) / "host.pem")
    for (_, _), (_, host) in pairs:
        spawn(_flood, host, context)
    request = f"GET / HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {SECRET.placeholder}\r\n\r\n".encode()
    lines = []
    for (ours, _), _ in pairs:
        line = web.trust.wrap_socket(ours, server_hostname=HOST)
        line.sendall(request)
        lines.append(line)
    print(os.read(measured, 100).decode())  # noqa: T201 - it is what the test reads
    os.kill(serving, 9)


def _flood(line: socket.socket, context: ssl.SSLContext) -> None:
    with suppress(OSError), context.wrap_socket(line, server_side=True) as host:
        host.recv(65536)
        host.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000000\r\n\r\n")
        while True:
            host.sendall(b"x" * 65536)


def _serve(web: Web, pairs: Sequence[tuple[tuple[socket.socket, socket.socket], ...]], told: int) -> None:
    """Serve all; tell the memory used once it has not grown for a while."""
    before = _memory()
    for (ours, guest), (upstream, host) in pairs:
        ours.close()
        host.close()
        threading.stack_size(512 * 1024)
        assert spawn(web.tls_proxy.serve, guest, HOST, 443, lambda upstream=upstream: upstream)
    most, since, end = 0, time.monotonic(), time.monotonic() + _DEADLINE
    while (now := time.monotonic()) < end and (now < since + _SETTLED_SECONDS or most - before < 1000):
        if _memory() > most:
            most, since = _memory(), now
        time.sleep(0.05)  # between two samples of a measurement
    os.write(told, str(most - before).encode())
    os._exit(0)


def _memory() -> int:
    """KiB of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4


if __name__ == "__main__":
    main()
