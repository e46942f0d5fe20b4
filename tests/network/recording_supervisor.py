"""A supervisor for tests, which records what it is asked, and answers as the test says."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyro_mcp.network import (
    ModelRefusal,
    ModelRequest,
    ModelUsage,
    Refusal,
    Reservation,
    SupervisedGateway,
    listen_for_gateway,
    serve_supervisor,
)
from pyro_mcp.results import NetworkLogEntry


class RecordingSupervisor:
    """A supervisor of one gateway; `gateway` is set as soon as that has connected."""

    def __init__(self) -> None:
        self.entries: list[NetworkLogEntry] = []
        self.text = ""
        """What the guest reads with each refusal."""
        self.fails = False
        self.forbidden_secrets: dict[str, str] = {}
        self.secret_uses: list[tuple[str, str, str, str]] = []
        self.connections: list[socket.socket] = []
        self.connected = threading.Event()
        self._gateway: SupervisedGateway | None = None

    @property
    def gateway(self) -> SupervisedGateway:
        assert self.connected.wait(20) and self._gateway is not None
        return self._gateway

    def serve(self, listener: socket.socket) -> None:
        """Serve the gateways that connect, one after the other."""
        while True:
            try:
                channel, _ = listener.accept()
            except OSError:
                return
            self._gateway = serve_supervisor(channel, self)
            self.connected.set()

    def decided(self, entry: NetworkLogEntry) -> str:
        if self.fails:
            raise OSError("the disk is full")
        self.entries.append(entry)
        return self.text if entry["verdict"] == "refused" else ""

    def connect(self, name: str) -> socket.socket | Refusal:
        if name.startswith("refused."):
            return Refusal("nobody serves it")
        ours, theirs = socket.socketpair()
        self.connections.append(ours)
        self.serve_name(name, ours)
        return theirs

    def serve_name(self, name: str, sock: socket.socket) -> None:
        """Serve a connection; this one waits for the test."""

    def secret_use(self, secret: str, host: str, method: str, path: str) -> str:
        self.secret_uses.append((secret, host, method, path))
        return self.forbidden_secrets.get(secret, "")

    def model_request(self, request: ModelRequest) -> Reservation | ModelRefusal:
        return ModelRefusal(f"{request.model} is not for you")

    def model_usage(self, reservation: str, usage: ModelUsage) -> None:
        raise AssertionError((reservation, usage))

    def decisions(self) -> list[str]:
        """Return what was recorded, one line each; what was repeated, as a resolver does, once."""
        lines = [
            f"{one['verdict']} {one['protocol']} {one['name'] or one['address']}:{one['port']}{one['path'] or ''}"
            for one in self.entries
        ]
        return list(dict.fromkeys(lines))


@contextmanager
def supervising(path: Path, supervisor: RecordingSupervisor) -> Iterator[RecordingSupervisor]:
    """Have `supervisor` serve the gateways that connect to `path`."""
    with listen_for_gateway(path) as listener:
        serving = threading.Thread(target=supervisor.serve, args=(listener,), daemon=True)
        serving.start()
        yield supervisor
        listener.shutdown(socket.SHUT_RDWR)
        serving.join(10)
