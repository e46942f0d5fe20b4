"""One call of a client: its key, and the transaction in which the key is checked and the work is done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import Depends
from starlette.requests import HTTPConnection

from moot.server.api.state import ServerState
from moot.server.database.transaction import Transaction
from moot.server.delivery import turns
from moot.server.identity.callers import INSTALL, Caller, authenticate
from moot.server.identity.tokens import SESSION
from moot.server.results import Event
from moot.server.spaces import spaces
from moot.server.spaces.spaces import Room

COOKIE = "moot_session"
Result = TypeVar("Result")
ACKNOWLEDGES, EXPLICIT = "x-moot-acknowledge", "explicit"
"""The header of a client that acknowledges each message itself, and its value."""
WorkInSpace = Callable[[Transaction, Caller, Room], Result]


@dataclass(frozen=True)
class Call:
    """A call that is not authenticated yet: each transaction checks its key, so that revoking works at once."""

    state: ServerState
    token: str
    explicit: bool = False
    """Whether the client acknowledges each message itself; the server then infers nothing from its calls."""

    def read(self, work: Callable[[Transaction, Caller], Result]) -> Result:
        """Run a function that only reads; return its result."""
        return self.state.database.read(lambda tx: work(tx, authenticate(tx, self.token)))

    def write(self, work: Callable[[Transaction, Caller], Result]) -> Result:
        """Run a function that writes; return its result after its changes are on the disk."""
        return self.state.database.write(lambda tx: work(tx, authenticate(tx, self.token)))

    def install(self, work: Callable[[Transaction, Caller], Result]) -> Result:
        """Run a function that writes, also for a key that may only install teams; return its result."""
        return self.state.database.write(lambda tx: work(tx, authenticate(tx, self.token, scope=INSTALL)))

    def write_in(self, space_id: str, work: WorkInSpace[Result], *, active: bool = True) -> Result:
        """Run a function that writes into a space, acknowledge what the caller got there before; return the result.

        Raises `NotFound`, and `Conflict` when the space must be active and is not.
        """
        return self.write(self._in_space(space_id, work, active=active))

    async def written_in(self, space_id: str, work: WorkInSpace[Result]) -> Result:
        """Do what `write_in` does, without a thread that waits, so that any number of calls can share a commit."""
        inside = self._in_space(space_id, work, active=True)
        future = self.state.database.submit(lambda tx: inside(tx, authenticate(tx, self.token)))
        return await asyncio.wrap_future(future)

    def has_read(self, space_id: str, events: Sequence[Event]) -> None:
        """Acknowledge those of these messages that are addressed to the caller, who gets them as a result."""
        if not self.explicit:
            self.write(lambda tx, caller: turns.has_read(tx, caller, space_id, events))

    def _in_space(
        self, space_id: str, work: WorkInSpace[Result], *, active: bool
    ) -> Callable[[Transaction, Caller], Result]:
        find = spaces.find_active if active else spaces.find

        def inside(tx: Transaction, caller: Caller) -> Result:
            room = find(tx, caller, space_id)
            if not self.explicit:
                turns.wrote(tx, caller, room)
            return work(tx, caller, room)

        return inside


def token_of(connection: HTTPConnection) -> str:
    """Return the key that a client sent in the header, or that of a browser's session; "" for none."""
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else session_of(connection)


def session_of(connection: HTTPConnection) -> str:
    """Return the key of a browser's session; "" for none, or when a page of another origin may have made the call.

    Browsers send the cookie to each port of this host, so that the address of the page is compared as well.
    """
    token = connection.cookies.get(COOKIE, "")
    is_read = connection.scope["type"] == "http" and connection.scope["method"] in ("GET", "HEAD")
    origin = connection.headers.get("origin", "")
    is_own = bool(origin) and origin.partition("://")[2] == connection.headers.get("host", "")
    return token if token.startswith(SESSION) and (is_own or (is_read and not origin)) else ""


def token_of_live(connection: HTTPConnection) -> str:
    """Return the key of a client that subscribes: in the header or, as a browser can send no header, in the query.

    Other calls take no key from the query, because addresses are kept in histories and in the logs of proxies.
    """
    return token_of(connection) or connection.query_params.get("token", "")


async def _call(connection: HTTPConnection) -> Call:
    return _counted(connection, token_of(connection))


async def _live_call(connection: HTTPConnection) -> Call:
    return _counted(connection, token_of_live(connection))


def _counted(connection: HTTPConnection, token: str) -> Call:
    state: ServerState = connection.app.state.server
    state.rates.take(token)
    return Call(state, token, connection.headers.get(ACKNOWLEDGES, "").lower() == EXPLICIT)


WithCall = Annotated[Call, Depends(_call)]
WithLiveCall = Annotated[Call, Depends(_live_call)]
