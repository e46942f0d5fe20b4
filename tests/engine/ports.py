"""The ports of a machine on this host: what QEMU's sockets are to the agent in a guest."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

DEADLINE = 20.0


class Port:
    """One listening socket whose clients, one after another, talk to `agent`.

    The agent is never told that a client has left: it is the race that a real port has, always lost.
    """

    def __init__(self, path: Path, agent: socket.socket) -> None:
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen(64)
        self._agent = agent
        self._agent.settimeout(None)
        self._client: socket.socket | None = None
        self._threads = [threading.Thread(target=pump) for pump in (self._from_clients, self._from_agent)]

    @contextmanager
    def open(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            for end in (self._listener, self._agent, self._client):
                if end is not None:
                    with suppress(OSError):
                        end.shutdown(socket.SHUT_RDWR)
            for thread in self._threads:
                thread.join(DEADLINE)
            self._listener.close()

    def _from_clients(self) -> None:
        with suppress(OSError):  # the listener was shut down
            while True:
                self._client, _ = self._listener.accept()
                with self._client as client, suppress(ConnectionResetError):
                    while data := client.recv(1 << 16):
                        self._agent.sendall(data)

    def _from_agent(self) -> None:
        while data := self._agent.recv(1 << 16):
            if self._client is not None:
                with suppress(OSError):  # nobody is there to hear it
                    self._client.sendall(data)


@contextmanager
def served(folder: Path, agents: Sequence[socket.socket]) -> Iterator[Path]:
    """Ports 0, 1, … in `folder`, as `connected` finds them."""
    folder.mkdir(mode=0o700, exist_ok=True)
    with ExitStack() as stack:
        for slot, agent in enumerate(agents):
            stack.enter_context(Port(folder / str(slot), agent).open())
        yield folder
