"""The door of one role: the only port of this host that the role's bottle reaches.

    python -P -m moot.bottled.door        the role is in the environment, the token in MOOT_DOOR_TOKEN

It serves the tools of the space at /mcp, and takes the inputs of the guest's hooks at /hook/EVENT: the same program
handles them that handles the hooks of agents on this host. It prints its port, and ends when its standard input ends,
which is with the program that started it.
"""

from __future__ import annotations

import hmac
import json
import os
import re
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from moot.adapters.desk import Desk
from moot.adapters.inbox import Inbox
from moot.adapters.mcp_adapter import MCPSpaceAdapter
from moot.adapters.program import run_adapter
from moot.adapters.tools_spaces import ADAPTER
from moot.bottled.guest_hooks import EVENTS, HOOK_SECONDS, SEEN_HEADER, TOKEN_VARIABLE
from moot.mailbox.mailbox import Mailbox
from pyro_mcp.errors import InvalidRequest
from pyro_mcp.mcp_transport import http

_LARGEST_INPUT = 2 * 1024 * 1024
_MOST_AT_ONCE = 4
_EVENT = re.compile(r"/hook/([A-Za-z]{1,64})")
# The path of a file that a guest names would be read on this host.
_NOT_FROM_A_GUEST = ("transcript_path", "agent_transcript_path", "cwd")


class Door:
    """Routes the requests of one guest: hooks are handled here, all others by the server of the tools."""

    def __init__(self, run_folder: Path, token: str, address: str, tools: ASGIApp) -> None:
        self._run_folder, self._tools = run_folder, tools
        self._wanted = f"Bearer {token}".encode()
        self._address = address.encode()
        self._limit = anyio.CapacityLimiter(_MOST_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._tools(scope, receive, send)
        elif event := _EVENT.fullmatch(scope["path"]):
            response = await self._hook(event[1], Request(scope, receive))
            await response(scope, receive, send)
        else:  # the guest knows this server by another name; the token and the port are what protects it
            headers = [(name, self._address if name == b"host" else value) for name, value in scope["headers"]]
            await self._tools({**scope, "headers": headers}, receive, send)

    async def _hook(self, event: str, request: Request) -> Response:
        given = request.headers.get("authorization", "").encode()
        if not hmac.compare_digest(given, self._wanted):
            return PlainTextResponse("the bearer token is missing or wrong\n", 401)
        if request.method != "POST" or event not in EVENTS:
            return PlainTextResponse("there is no such hook\n", 404)
        body = b""
        async for piece in request.stream():
            body += piece
            if len(body) > _LARGEST_INPUT:
                return PlainTextResponse("the input of the hook is too large\n", 413)
        try:
            found = _input(body, event)
        except ValueError as error:
            return PlainTextResponse(f"the input of the hook is not valid: {error}\n", 400)
        await anyio.to_thread.run_sync(self._seen, request.headers.get(SEEN_HEADER, ""))
        return PlainTextResponse(await self._run(event, found))

    def _seen(self, tokens: str) -> None:
        mailbox = Mailbox.existing(self._run_folder / "mailbox.db") if tokens.strip() else None
        if mailbox is not None:
            try:
                mailbox.seen_in(tokens)
            finally:
                mailbox.close()

    async def _run(self, event: str, given: dict[str, Any]) -> bytes:
        """Return what the program of a hook prints; "" when it fails or takes too long."""
        argv = [sys.executable, "-P", "-m", "moot.hooks", event, str(self._run_folder)]
        async with self._limit:
            with anyio.move_on_after(HOOK_SECONDS - 2):
                done = await anyio.run_process(argv, input=json.dumps(given).encode(), check=False)
                return done.stdout if done.returncode == 0 else b""
        return b""


def _input(body: bytes, event: str) -> dict[str, Any]:
    """Return the input of a hook without what a guest must not say. Raises `ValueError`."""
    try:
        found = json.loads(body)
    except RecursionError as error:
        raise ValueError("it is too deep") from error
    if not isinstance(found, dict):
        raise ValueError("it is no object")
    return {**{key: value for key, value in found.items() if key not in _NOT_FROM_A_GUEST}, "hook_event_name": event}


def serve(desk: Desk) -> int:
    """Serve until the standard input ends."""
    token = os.environ.pop(TOKEN_VARIABLE, "")
    if not token:
        raise InvalidRequest(f"{TOKEN_VARIABLE} is not set", hint="set it to the token that the guest sends")
    Inbox(desk, ADAPTER).start()
    with http.listen(0) as listener:
        port = listener.getsockname()[1]
        sys.stdout.write(f"{port}\n")
        sys.stdout.flush()
        end_with_parent()
        guarded = partial(Door, desk.role.run_folder, token, f"127.0.0.1:{port}")
        http.over_http(MCPSpaceAdapter(desk).lowlevel, listener, token, guarded)
    return 0


def end_with_parent() -> None:
    """End this process when its standard input ends."""

    def wait() -> None:
        while os.read(0, 4096):
            pass
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


if __name__ == "__main__":
    run_adapter("mcp", serve)
