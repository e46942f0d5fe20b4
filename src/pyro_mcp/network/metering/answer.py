"""The usage that the answer of a model's API reports, found while the answer streams to the guest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol

from pyro_mcp.network.metering import anthropic, openai
from pyro_mcp.network.metering.document import Json, Uncountable
from pyro_mcp.network.metering.events import EventParser
from pyro_mcp.network.metering.values import NOTHING_USED, Api, ModelRequest, ModelUsage

MOST_ANSWER_BYTES = 32 * 1024 * 1024
"""The largest event or document that is read; a larger one leaves the usage unknown."""
_MARK = b'"usage"'
_FIRST_FAILURE, _FIRST_SUCCESS = 300, 200


class _AnswerUsage(Protocol):
    """The usage that an answer reports: one document, or the events of a stream."""

    def take_whole(self, document: Json, /) -> None:
        """Take an answer that was not streamed."""

    def take_event(self, event: Json, /) -> None:
        """Take an event of a stream."""

    def usage(self) -> ModelUsage:
        """Return what is known so far."""


class _ModelApi(Protocol):
    """A module that knows the requests and the answers of one API."""

    METERED: frozenset[tuple[str, str]]
    """The methods and paths of requests whose cost is known."""
    FREE: frozenset[tuple[str, str]]
    """Those of other requests than reading ones that cost nothing."""

    def read_request(self, content: bytes, host: str, path: str) -> ModelRequest:
        """Return what a request may use at most; raise `Uncountable`."""

    def new_usage(self) -> _AnswerUsage:
        """Return the usage of an answer of which nothing has been read."""

    def error(self, kind: str, message: str) -> Json:
        """Return an error in the form of the API."""


_MODULES: Mapping[Api, _ModelApi] = {"anthropic": anthropic, "openai": openai}


def is_free(api: Api, method: str, path: str) -> bool:
    """Return whether a request costs nothing: it reads something, or only counts."""
    return method in ("GET", "HEAD", "OPTIONS") or (method, path) in _MODULES[api].FREE


def read_request(api: Api, method: str, path: str, host: str, content: bytes) -> ModelRequest:
    """Return what a request may use at most; raises `Uncountable`."""
    if (method, path) not in _MODULES[api].METERED:
        raise Uncountable(f"the cost of {method} {path} is not known")
    return _MODULES[api].read_request(content, host, path)


def error(api: Api, kind: str, message: str) -> bytes:
    """Return an error in the form of this API."""
    return json.dumps(_MODULES[api].error(kind, message)).encode("ascii")


class AnswerReader:
    """The reader of one answer, with its status and the type of its content."""

    def __init__(self, api: Api, status: int, content_type: bytes) -> None:
        self._usage = _MODULES[api].new_usage()
        self._failed = not _FIRST_SUCCESS <= status < _FIRST_FAILURE
        kind = content_type.partition(b";")[0].strip().lower()
        self._events = EventParser(MOST_ANSWER_BYTES) if kind == b"text/event-stream" and not self._failed else None
        self._is_document = kind == b"application/json" and not self._failed
        self._document = bytearray()
        self._size = 0

    def feed(self, content: bytes) -> None:
        """Take the next bytes of the answer."""
        if self._events is not None:
            for data in self._events.feed(content):
                if event := _event(data):
                    self._usage.take_event(event)
        elif self._is_document:
            self._size += len(content)
            if self._size <= MOST_ANSWER_BYTES:
                self._document += content

    def end(self, *, complete: bool) -> ModelUsage:
        """Return the usage after the last byte, or after an answer was cut off.

        A request that the API refused has used nothing.
        """
        if self._failed:
            return NOTHING_USED
        if complete and self._is_document and self._size <= MOST_ANSWER_BYTES and (whole := _object(self._document)):
            self._usage.take_whole(whole)
        return self._usage.usage()


def _event(data: bytes) -> dict[str, Any] | None:
    """Return the object of an event that may say something about its usage, None for any other event."""
    return _object(data) if _MARK in data else None


def _object(content: bytes | bytearray) -> dict[str, Any] | None:
    try:
        found = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError, MemoryError):
        return None
    return found if isinstance(found, dict) else None


__all__ = ["MOST_ANSWER_BYTES", "AnswerReader", "Uncountable", "error", "is_free", "read_request"]
