"""The errors of calls to a space server, by the status of its answer.

PyroError
├── NotAuthenticated   401, and the close code 4401 of a WebSocket: the key is not valid (any more)
├── NotPermitted       403
├── NotFound           404
├── Conflict           409
│   └── TooManyRequests  429
├── InvalidRequest     any other 4xx
├── ServerFailed       5xx, an answer that is not JSON, or a connection that ended before the answer
├── Unreachable        no connection
└── DeadlineExceeded   no answer in time
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from pyro_mcp.errors import Conflict, HostNotReady, InvalidRequest, NotFound, PyroError, TooManyRequests

_LONGEST_DETAIL = 500


class NotAuthenticated(PyroError):
    code = "unauthenticated"


class NotPermitted(PyroError):
    code = "forbidden"


class ServerFailed(PyroError):
    code = "server_failed"


class Unreachable(HostNotReady):
    code = "unreachable"


_KINDS: Mapping[int, tuple[type[PyroError], str]] = {
    401: (NotAuthenticated, "log in again (moot login), or give the agent a new key (moot init --force)"),
    403: (NotPermitted, ""),
    404: (NotFound, ""),
    409: (Conflict, ""),
    429: (TooManyRequests, "wait a second, then try again"),
}


def problem(status: int, body: bytes, what: str) -> PyroError:
    """Return the error that an answer with this status means; `what` is the call, as a person reads it."""
    detail, more = _read(body)
    if status >= 500:
        return ServerFailed(f"{what}: the server failed ({status}): {detail}", hint="the server's log has the cause")
    kind, hint = _KINDS.get(status, (InvalidRequest, ""))
    error = kind(f"{what}: {detail}" if detail else f"{what}: refused ({status})", hint=hint)
    error.details = {**more, "status": status}
    return error


def unreachable(base_url: str, why: object) -> Unreachable:
    """Return the error for a server to which there is no connection."""
    return Unreachable(
        f"cannot reach the space server at {base_url}: {str(why)[:_LONGEST_DETAIL]}",
        hint="start it with `moot serve`, or correct convo.api_url in moot.toml (CONVO_API_URL)",
    )


def _read(body: bytes) -> tuple[str, dict[str, object]]:
    """Return what an answer says, on one line, and its other fields."""
    try:
        answer = json.loads(body)
    except ValueError:
        answer = body.decode(errors="replace")
    more: dict[str, object] = {}
    if isinstance(answer, dict):
        more = {str(name): value for name, value in answer.items() if name not in ("code", "detail")}
        answer = answer.get("detail", "")
    if isinstance(answer, list):  # of a validation: where, and what
        answer = "; ".join(_fault(one) for one in answer[:5])
    text = " ".join(str(answer).split())
    return text[:_LONGEST_DETAIL], more


def _fault(one: object) -> str:
    if not isinstance(one, dict):
        return str(one)
    where = ".".join(str(part) for part in one.get("loc", ()) if part not in ("body", "query", "path"))
    return f"{where}: {one.get('msg', '')}"
