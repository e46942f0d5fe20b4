"""The process that keeps an agent of the fake backend on its terminal: `python -m …fake.supervisor STAGE`.

Clients connect to the Unix socket `socket` in the stage folder. They send messages: a byte `i` (keys) or `r` (columns
and rows, two bytes each), a length of four bytes, and that many bytes. They get the last output, then what the agent
writes. All output goes to the file `output`, the exit code to the file `exit`.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import selectors
import signal
import socket
import struct
import sys
import termios
from contextlib import suppress
from pathlib import Path

REPLAYED = 64 * 1024
HEADER = struct.Struct("!cI")
SIZE = struct.Struct("!HH")
_CLIENT_SECONDS = 10.0


def main(stage: str) -> int:
    """Start the agent that `agent.json` describes in a process of its own; return once it has a terminal."""
    os.chdir(stage)
    agent = json.loads(Path("agent.json").read_text())
    started, starting = os.pipe()
    if os.fork():
        os.close(starting)
        return 0 if os.read(started, 1) else 1
    os.setsid()
    log = os.open("supervisor.log", os.O_WRONLY | os.O_CREAT, 0o600)
    for fd in (1, 2):
        os.dup2(log, fd)
    Path("supervisor").write_text(str(os.getpid()))
    listening = socket.socket(socket.AF_UNIX)
    listening.bind("socket")
    listening.listen()
    pid, terminal = pty.fork()
    if pid == 0:
        _become(agent)
    signal.signal(signal.SIGTERM, lambda *_: os.killpg(pid, signal.SIGKILL))
    resize(terminal, 80, 24)
    with open("output", "wb", buffering=0) as output:
        os.write(starting, b"x")
        os.close(starting)
        _Supervisor(terminal, listening, output.fileno()).run()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    Path("exit.new").write_text(str(code if code >= 0 else 128 - code))
    Path("exit.new").rename("exit")
    return 0


def _become(agent: dict[str, object]) -> None:
    """Replace this process by the agent."""
    argv, environ = agent["argv"], agent["environ"]
    assert isinstance(argv, list) and isinstance(environ, dict)
    try:
        os.chdir(str(agent["folder"]))
        os.execvpe(argv[0], argv, environ)  # noqa: S606 - a list, no shell
    except OSError as error:
        os.write(2, f"{argv[0]}: {error.strerror}\r\n".encode())
        os._exit(127)


def resize(terminal: int, columns: int, rows: int) -> None:
    """Set the size of a terminal."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))


class _Supervisor:
    def __init__(self, terminal: int, listening: socket.socket, output: int) -> None:
        self._terminal, self._listening, self._output = terminal, listening, output
        self._clients: dict[socket.socket, bytes] = {}
        self._deaf: set[socket.socket] = set()
        self._selector = selectors.DefaultSelector()

    def run(self) -> None:
        """Pass bytes between the agent and its clients until the agent has ended."""
        self._selector.register(self._terminal, selectors.EVENT_READ)
        self._selector.register(self._listening, selectors.EVENT_READ)
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._listening:
                    self._welcome()
                elif isinstance(key.fileobj, socket.socket):
                    self._receive(key.fileobj)
                elif not self._pass_on():
                    return

    def _welcome(self) -> None:
        client, _ = self._listening.accept()
        client.settimeout(_CLIENT_SECONDS)
        end = os.fstat(self._output).st_size
        with open("output", "rb") as written:
            written.seek(max(0, end - REPLAYED))
            replayed = written.read()
        self._clients[client] = b""
        self._selector.register(client, selectors.EVENT_READ)
        self._send(client, replayed)

    def _receive(self, client: socket.socket) -> None:
        received = b""
        with suppress(OSError):
            received = client.recv(65536)
        if not received:
            self._drop(client)
            return
        waiting = self._clients[client] + received
        while len(waiting) >= HEADER.size:
            kind, length = HEADER.unpack_from(waiting)
            if len(waiting) < HEADER.size + length:
                break
            content, waiting = waiting[HEADER.size : HEADER.size + length], waiting[HEADER.size + length :]
            if kind == b"r":
                resize(self._terminal, *SIZE.unpack(content))
            else:
                os.write(self._terminal, content)
        self._clients[client] = waiting

    def _pass_on(self) -> bool:
        """Pass output of the agent on; return whether more may come."""
        try:
            written = os.read(self._terminal, 65536)
        except OSError:  # EIO: nobody has the terminal open any more
            return False
        os.write(self._output, written)
        for client in list(self._clients):
            self._send(client, written)
        return bool(written)

    def _send(self, client: socket.socket, data: bytes) -> None:
        if client not in self._deaf:
            try:
                client.sendall(data)
            except OSError:  # it has gone; what it sent before is still to be read
                self._deaf.add(client)

    def _drop(self, client: socket.socket) -> None:
        self._selector.unregister(client)
        del self._clients[client]
        self._deaf.discard(client)
        client.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
