"""The client of a space server: its REST interface, one connection pool for any number of threads.

    with SpaceClient("http://127.0.0.1:8000", key) as space:
        print(space.me().display_name)

Every failure is a `PyroError` with a hint (`moot.client.errors`). `moot.client.space_feed` has the live part.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import quote

import httpx2
from pydantic import BaseModel, TypeAdapter, ValidationError

from moot.client.errors import ServerFailed, problem, unreachable
from moot.client.models import (
    Actor,
    ActorWithKey,
    ContextEvent,
    Cursor,
    Delivery,
    Orientation,
    Participant,
    Space,
    SpaceStatus,
)
from moot.client.server_address import DEFAULT_API_URL, ServerAddress
from pyro_mcp.errors import DeadlineExceeded

__all__ = ["DEFAULT_API_URL", "SpaceClient", "part"]

EXPLICIT = {"X-Moot-Acknowledge": "explicit"}
"""The header of a client that acknowledges each message itself: the server infers nothing from its calls."""
_TIMEOUT_SECONDS = 30.0
_CONNECT_RETRIES = 3
_MOST_IDS = 200
_LARGEST_ANSWER = 64 * 2**20
Found = TypeVar("Found", bound=BaseModel)


class SpaceClient:
    """The calls of one key. `explicit` says that this client acknowledges messages itself."""

    def __init__(
        self, api_url: str, key: str = "", *, explicit: bool = False, timeout_seconds: float = _TIMEOUT_SECONDS
    ) -> None:
        self.address = ServerAddress(api_url, key)
        self._timeout = timeout_seconds
        trust_env = not self.address.is_loopback
        tls: Any = self.address.tls or False  # without TLS there is nothing to verify, and a context is slow to make
        self._http = httpx2.Client(
            timeout=timeout_seconds,
            trust_env=trust_env,
            verify=tls,
            headers={**self.address.headers(), **(EXPLICIT if explicit else {})},
            transport=None if trust_env else httpx2.HTTPTransport(retries=_CONNECT_RETRIES, verify=tls),
        )

    def __enter__(self) -> SpaceClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        params: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Return the JSON of the answer; `params` that are None are left out. Raises `PyroError`."""
        what = f"{method} {path}"
        content = None if body is None else json.dumps(body).encode()  # ASCII: also what is no valid Unicode is sent
        sent = {"Content-Type": "application/json"} if content is not None else {}
        query = {name: _word(value) for name, value in (params or {}).items() if value is not None}
        try:
            with self._http.stream(
                method,
                f"{self.address.base_url}{path}",
                content=content,
                params=query or None,
                headers={**sent, **(headers or {})},
            ) as answer:
                found = self._body(answer, what, time.monotonic() + self._timeout)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError) as error:
            raise unreachable(self.address.base_url, error) from error
        except httpx2.TimeoutException as error:
            raise self._late(what) from error
        except (httpx2.HTTPError, httpx2.InvalidURL, UnicodeError) as error:
            raise ServerFailed(f"{what}: {error or type(error).__name__}", hint="try again") from error
        if not answer.is_success:
            raise problem(answer.status_code, found, what)
        try:
            return json.loads(found)
        except (ValueError, RecursionError) as error:
            raise ServerFailed(
                f"{what}: the answer is not JSON", hint=f"is {self.address.base_url} a space server?"
            ) from error

    def _body(self, answer: httpx2.Response, what: str, end: float) -> bytes:
        """Read the body of an answer: httpx's own limit is for each read, so it does not bound all of them."""
        found = bytearray()
        for chunk in answer.iter_bytes():
            found += chunk
            if len(found) > _LARGEST_ANSWER:
                raise ServerFailed(
                    f"{what}: the answer is larger than {_LARGEST_ANSWER // 2**20} MiB",
                    hint=f"is {self.address.base_url} a space server?",
                )
            if time.monotonic() > end:
                raise self._late(what)
        return bytes(found)

    def _late(self, what: str) -> DeadlineExceeded:
        return DeadlineExceeded(f"{what}: the space server did not answer within {self._timeout:g} s", hint="try again")

    # Actors

    def health(self) -> Any:
        """Return the server's description of itself; needs no key."""
        return self.call("GET", "/health")

    def me(self) -> Actor:
        """Return the caller."""
        return _one(Actor, self.call("GET", "/api/actors/me"))

    def my_agents(self) -> list[Actor]:
        """Return the agents that the caller sponsors."""
        return _many(Actor, self.call("GET", "/api/actors/me/agents"))

    def my_spaces(self, status: str | None = "active") -> list[Space]:
        """Return the spaces that the caller has joined."""
        return _many(Space, self.call("GET", "/api/actors/me/spaces", params={"status": status}))

    def orientation(self) -> Orientation:
        """Return what an agent needs to begin; it joins its focus space."""
        return _one(Orientation, self.call("GET", "/api/actors/me/orientation"))

    def rotate_key(self, actor_id: str, *, force: bool = False) -> ActorWithKey:
        """Give an agent a new key; the old one is invalid at once. Raises `Conflict` for a connected one."""
        headers = {"X-Force-Rotate": "true"} if force else {}
        return _one(ActorWithKey, self.call("POST", f"/api/actors/{part(actor_id)}/rotate-key", headers=headers))

    def new_agent(self, tenant_id: str, display_name: str, agent_profile: str | None = None) -> ActorWithKey:
        """Make an agent that the caller sponsors."""
        body = {"display_name": display_name, "agent_profile": agent_profile}
        return _one(ActorWithKey, self.call("POST", f"/api/tenants/{part(tenant_id)}/agents", body))

    def set_focus(self, actor_ids: Sequence[str], space_id: str | None) -> list[Actor]:
        """Set the space in which agents should work."""
        body = {"actor_ids": list(actor_ids), "space_id": space_id}
        return _many(Actor, self.call("PUT", "/api/actors/focus", body))

    # Spaces

    def spaces(self) -> list[Space]:
        """Return all spaces that the caller may join."""
        return _many(Space, self.call("GET", "/api/spaces"))

    def space(self, space_id: str) -> Space:
        """Return a space."""
        return _one(Space, self.in_space(space_id, "GET", ""))

    def create_space(self, space_id: str, name: str | None = None) -> Space:
        """Return the space with this id; make it first, with this name, when there is none."""
        body = {"space_id": space_id} if name is None else {"space_id": space_id, "name": name}
        return _one(Space, self.call("POST", "/api/spaces", body))

    def join(self, space_id: str, adapter: str) -> Participant:
        """Make the caller a participant; `adapter` is the name of its program."""
        return _one(Participant, self.in_space(space_id, "POST", "join", {"agent_adapter": adapter}))

    def status(self, space_id: str) -> SpaceStatus:
        """Return a space with its participants."""
        return _one(SpaceStatus, self.in_space(space_id, "GET", "status"))

    def participants(self, space_id: str) -> list[Participant]:
        """Return the participants of a space."""
        return _many(Participant, self.in_space(space_id, "GET", "participants"))

    def set_status(self, space_id: str, actor_id: str, status: str) -> Participant:
        """Set what the caller says about itself in a space."""
        path = f"participants/{part(actor_id)}/status"
        return _one(Participant, self.in_space(space_id, "PATCH", path, {"status": status}))

    # The log

    def post(
        self,
        space_id: str,
        text: str,
        *,
        mentions: Sequence[str] = (),
        message_type: str | None = None,
        parent_event_id: str | None = None,
        thread_id: str | None = None,
        references: Sequence[str] = (),
        idempotency_key: str | None = None,
    ) -> ContextEvent:
        """Post a message of the caller. The same idempotency key posts it once, however often it is sent."""
        metadata: dict[str, object] = {"mentions": list(mentions)} if mentions else {}
        if message_type:
            metadata["message_type"] = message_type
        body = {
            "text": text,
            "metadata": metadata or None,
            "parent_event_id": parent_event_id,
            "thread_id": thread_id,
            "references": list(references),
        }
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        return _one(ContextEvent, self.in_space(space_id, "POST", "events", body, headers=headers))

    def events(
        self, space_id: str, *, since: str | None = None, before: str | None = None, limit: int | None = None
    ) -> list[ContextEvent]:
        """Return the first events after `since`, or else the last ones; the oldest first."""
        params = {"since": since, "before": before, "limit": limit}
        return _many(ContextEvent, self.in_space(space_id, "GET", "events", params=params))

    def event(self, space_id: str, event_id: str) -> ContextEvent:
        """Return one event."""
        return _one(ContextEvent, self.in_space(space_id, "GET", f"events/{part(event_id)}"))

    def mentions(
        self, space_id: str, actor_id: str, *, since: str | None = None, limit: int | None = None
    ) -> list[ContextEvent]:
        """Return the first messages after `since` that mention an actor, or else the last ones; the oldest first."""
        params = {"since": since, "limit": limit}
        return _many(ContextEvent, self.in_space(space_id, "GET", f"mentions/{part(actor_id)}", params=params))

    # Deliveries

    def deliveries_of(self, space_id: str, event_id: str) -> list[Delivery]:
        """Return the deliveries of a message, one for each recipient."""
        return _many(Delivery, self.in_space(space_id, "GET", f"events/{part(event_id)}/deliveries"))

    def deliveries_to(
        self, space_id: str, recipient_id: str, *, state: str | None = None, after_sequence: int = 0, limit: int = 1000
    ) -> list[Delivery]:
        """Return the deliveries to a recipient; the oldest first."""
        params = {"recipient_id": recipient_id, "state": state, "after_sequence": after_sequence, "limit": limit}
        return _many(Delivery, self.in_space(space_id, "GET", "deliveries", params=params))

    def unread(self, space_id: str, actor_id: str) -> list[Delivery]:
        """Return the deliveries to a participant that it has not acknowledged, the dead ones left out."""
        states = ("pushed", "queued")
        found = [one for state in states for one in self.deliveries_to(space_id, actor_id, state=state)]
        return sorted(found, key=lambda one: one.sequence)

    def cursor(self, space_id: str) -> Cursor:
        """Return the caller's position in a space. Raises `NotFound` when it has not joined."""
        return _one(Cursor, self.in_space(space_id, "GET", "cursor"))

    def acknowledge(self, space_id: str, event_ids: Sequence[str]) -> None:
        """Acknowledge these messages to the caller, and no other."""
        for first in range(0, len(event_ids), _MOST_IDS):
            self.in_space(space_id, "POST", "ack", {"event_ids": list(event_ids[first : first + _MOST_IDS])})

    def in_space(
        self,
        space_id: str,
        method: str,
        path: str,
        body: object = None,
        *,
        params: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Return the JSON of the answer to a call below `/api/spaces/{space_id}`."""
        whole = f"/api/spaces/{part(space_id)}" + (f"/{path}" if path else "")
        return self.call(method, whole, body, params=params, headers=headers)


def part(text: str) -> str:
    """Return a text as one part of a path, so that an id that a model made up leads to no other path."""
    return quote(text.encode(errors="replace"), safe="") if text not in ("", ".", "..") else "-"


def _word(value: object) -> str:
    return "true" if value is True else "false" if value is False else str(value)


def _one(kind: type[Found], answer: object) -> Found:
    try:
        return kind.model_validate(answer)
    except ValidationError as error:
        raise _unexpected(kind, error) from error


def _many(kind: type[Found], answer: object) -> list[Found]:
    try:
        return TypeAdapter(list[kind]).validate_python(answer)  # type: ignore[valid-type] # a type in a variable
    except ValidationError as error:
        raise _unexpected(kind, error) from error


def _unexpected(kind: type[BaseModel], error: ValidationError) -> ServerFailed:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return ServerFailed(
        f"the server's answer is no {kind.__name__}: {where}: {first['msg']}",
        hint="use a server of the same version as this client",
    )
