"""The server over HTTP: on loopback only, for whoever knows the token, and not for web pages of other origins."""

from __future__ import annotations

import hmac
import os
import secrets
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import anyio
import uvicorn
from mcp.server import Server
from mcp.server.transport_security import TransportSecuritySettings
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from pyro_mcp.errors import Conflict, InvalidRequest
from pyro_mcp.hints import Argument, Hint
from pyro_mcp.mcp_transport.admission import MOST_WAITING, WaitingRoom, protocol_with
from pyro_mcp.mcp_transport.exit import leave_soon

PATH = "/mcp"
TOKEN_VARIABLE = "PYRO_MCP_TOKEN"  # noqa: S105
_ADDRESS = "127.0.0.1"
_SHORTEST_TOKEN = 16
_LONGEST_TOKEN = 4096
_LARGEST_BODY = 64 * 1024 * 1024
_SECONDS_TO_LEAVE = 2


def find_token(token_file: str | Path | None = None, *, variable: str = TOKEN_VARIABLE) -> str | None:
    """Return the token of a file, or else of a variable of the environment; None if neither has one.

    Raises `InvalidRequest` for a token that is too short, or whose file others may read.
    """
    if token_file is not None:
        return _sound(_read_private(Path(token_file)), f"the token in {token_file}")
    given = os.environ.get(variable)
    return None if given is None else _sound(given, f"the token in {variable}")


def new_token() -> str:
    """Return a new random token."""
    return secrets.token_urlsafe(32)


def _read_private(path: Path) -> str:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(_LONGEST_TOKEN + 1)
    except OSError as error:
        raise InvalidRequest(f"cannot read {path}: {error.strerror}") from error
    if stat.S_ISREG(mode) and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise InvalidRequest(f"others may read {path}", hint=f"chmod 600 {path}")
    return content.decode(errors="replace").strip()


def _sound(token: str, what: str) -> str:
    if not _SHORTEST_TOKEN <= len(token) <= _LONGEST_TOKEN or not token.isascii() or not token.isprintable():
        raise InvalidRequest(
            f"{what} is not {_SHORTEST_TOKEN} or more printable ASCII characters",
            hint="make one with: python3 -c 'import secrets; print(secrets.token_urlsafe(32))'",
        )
    return token


class BearerAuth:
    """Lets nobody in who does not send the token; whoever does leaves the waiting room."""

    def __init__(self, token: str, room: WaitingRoom, app: ASGIApp) -> None:
        self._wanted = f"Bearer {token}".encode()
        self._room = room
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._knows(scope["headers"]):
            headers = {"WWW-Authenticate": "Bearer", "Connection": "close"}
            refusal = PlainTextResponse("the bearer token is missing or wrong\n", 401, headers)
            await refusal(scope, receive, send)
        else:
            self._room.leave(scope.get("client"))
            await self._app(scope, receive, send)

    def _knows(self, headers: list[tuple[bytes, bytes]]) -> bool:
        given = [value for name, value in headers if name == b"authorization"]
        return len(given) == 1 and hmac.compare_digest(given[0], self._wanted)


def listen(port: int) -> socket.socket:
    """Return a socket that listens on loopback, on a free port if `port` is 0; raise `Conflict` if it is taken."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((_ADDRESS, port))
    except (OSError, OverflowError) as error:
        listener.close()
        raise Conflict(
            f"cannot listen on {_ADDRESS}:{port}: {error}", hint=Hint("choose another {}, or 0", Argument("port"))
        ) from error
    listener.listen()
    return listener


def address(listener: socket.socket) -> str:
    """Return the URL of the server."""
    return f"http://{_ADDRESS}:{listener.getsockname()[1]}{PATH}"


def over_http(
    server: Server[Any],
    listener: socket.socket,
    token: str,
    outermost: Callable[[ASGIApp], ASGIApp] | None = None,
    *,
    leave_seconds: float | None = None,
) -> None:
    """Serve any number of clients until a signal ends it; commands that run then are killed.

    `outermost` wraps the application: what it does to a request comes before the token is asked for. At most
    `leave_seconds` after a signal the process ends, whatever it does then.
    """
    port = listener.getsockname()[1]
    names = [f"{_ADDRESS}:{port}", f"localhost:{port}"]
    security = TransportSecuritySettings(
        enable_dns_rebinding_protection=True, allowed_hosts=names, allowed_origins=[f"http://{name}" for name in names]
    )
    app = server.streamable_http_app(
        streamable_http_path=PATH, transport_security=security, max_request_body_size=_LARGEST_BODY
    )
    room = WaitingRoom()
    admitted = BearerAuth(token, room, app)
    config = uvicorn.Config(
        outermost(admitted) if outermost else admitted,
        http=protocol_with(room),
        backlog=MOST_WAITING,  # asyncio accepts as many before the room can end the oldest
        log_level="error",  # a warning is for every peer to cause, as often as it likes
        access_log=False,
        server_header=False,
        lifespan="on",
        timeout_graceful_shutdown=_SECONDS_TO_LEAVE,
    )
    anyio.run(_Leaving(config, leave_seconds).serve, [listener])


class _Leaving(uvicorn.Server):
    """Ends soon after a signal also when something cannot be interrupted."""

    def __init__(self, config: uvicorn.Config, leave_seconds: float | None) -> None:
        super().__init__(config)
        self._leave = {} if leave_seconds is None else {"seconds": leave_seconds}

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        leave_soon(128 + sig, **self._leave)
        super().handle_exit(sig, frame)
