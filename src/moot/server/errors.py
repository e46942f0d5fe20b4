"""The errors of the space server, and the HTTP status of each. The rest are those of `pyro_mcp.errors`.

PyroError
├── Unauthenticated        401  no key, or one that is not valid (any more)
├── Forbidden              403  the caller may not do this
├── RequestTimeout         408  a body that has not come in time
├── InvalidRequest         400
│   └── TooLarge           413  a body, or a text in it
├── Conflict
│   ├── AgentConnected     409  the agent of this key is connected; it is rotated only by force
│   └── TooManyRequests    429  more than the rate of one key, or too many connections; of `pyro_mcp.errors`
└── HostNotReady
    └── Unavailable        503  the server is stopping or overloaded
        └── DatabaseFailed 503  the database cannot be reached, is damaged, or takes too long
"""

from __future__ import annotations

from pyro_mcp.errors import Conflict, HostNotReady, InvalidRequest, NoSpace, NotFound, PyroError, TooManyRequests


class Unauthenticated(PyroError):
    code = "unauthenticated"


class Forbidden(PyroError):
    code = "forbidden"


class RequestTimeout(PyroError):
    code = "request_timeout"


class TooLarge(InvalidRequest):
    code = "too_large"


class AgentConnected(Conflict):
    code = "agent_connected"

    def __init__(self, actor_id: str) -> None:
        super().__init__(
            "The agent is connected: a new key would break its connection",
            hint="stop the agent, or send the header X-Force-Rotate: true",
        )
        self.details = {"error": self.code, "message": self.message, "agent_id": actor_id}


class Unavailable(HostNotReady):
    code = "unavailable"


class DatabaseFailed(Unavailable):
    """The error of a database that does not answer. Its message, which may name hosts and users, is for the log."""

    for_clients = "The database does not answer"


_STATUSES: tuple[tuple[type[PyroError], int], ...] = (
    (Unauthenticated, 401),
    (Forbidden, 403),
    (NotFound, 404),
    (TooManyRequests, 429),
    (Conflict, 409),
    (RequestTimeout, 408),
    (TooLarge, 413),
    (InvalidRequest, 400),
    (NoSpace, 507),
    (HostNotReady, 503),
)


def status_of(error: PyroError) -> int:
    """Return the HTTP status that says the same as an error; 500 for one that no client can cause."""
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)
