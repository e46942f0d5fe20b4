"""Requests and answers of Anthropic's Messages API.

Sources, read in November 2026:
https://platform.claude.com/docs/en/api/messages (parameters, errors)
https://platform.claude.com/docs/en/build-with-claude/streaming (the usage of `message_delta` is cumulative)
https://platform.claude.com/docs/en/build-with-claude/compaction-threshold (`usage.iterations`: without the
iterations of a compaction, the numbers at the top are too small)
https://platform.claude.com/docs/en/agents-and-tools/tool-use/web-search-tool (`max_uses`)
https://platform.claude.com/docs/en/build-with-claude/cache-diagnostics (`diagnostics` only compares two requests)
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pyro_mcp.network.metering.document import (
    Json,
    Uncountable,
    check_keys,
    count_of,
    model_of,
    objects_of,
    read_document,
    shortened,
)
from pyro_mcp.network.metering.values import CacheWrites, ModelRequest, ModelUsage, is_count

METERED = frozenset({("POST", "/v1/messages")})
FREE = frozenset({("POST", "/v1/messages/count_tokens")})

_FREE_KEYS = frozenset({
    "cache_control", "context_management", "diagnostics", "inference_geo", "max_tokens", "mcp_servers", "messages",
    "metadata", "model", "output_config", "output_format", "service_tier", "speed", "stop_sequences", "stream",
    "system", "temperature", "thinking", "tool_choice", "tools", "top_k", "top_p",
})  # fmt: skip
"""The keys that do not change the price by themselves, or that are checked here."""
_GUEST_TOOLS = re.compile(r"(bash|computer|memory|text_editor)_[0-9]{8}", re.ASCII)
"""The types of tools that the guest runs, with their dates: a longer type, such as bash_code_execution, is another."""
_BOUNDED_TOOLS = re.compile(r"(web_search|web_fetch)_[0-9]{8}", re.ASCII)
_MOST_USES = 100
_SYSTEM_TOKENS = 4096
"""More than the API adds by itself for tools (its documentation names up to 804 tokens)."""
_IMAGE_TOKENS = 5000
"""More than an image takes (its documentation names up to 4784 tokens)."""


class _Content:
    """What the objects of a request say about its input."""

    def __init__(self) -> None:
        self.images = 0
        self.is_bounded = True
        self.cache_writes: CacheWrites = ""

    def visit(self, found: Json) -> None:
        kind = found.get("type")
        if kind == "image":
            self.images += 1
        elif kind == "document":
            source = found.get("source")
            self.is_bounded &= isinstance(source, dict) and source.get("type") in ("text", "content")
        self.is_bounded &= not isinstance(found.get("file_id"), str)
        control = found.get("cache_control")
        if isinstance(control, dict):
            self.cache_writes = "1h" if "1h" in (control.get("ttl"), self.cache_writes) else "5m"


def read_request(content: bytes, host: str, path: str) -> ModelRequest:
    """Return what a request to `POST /v1/messages` may use at most; raises `Uncountable`."""
    seen = _Content()
    document = read_document(content, seen.visit)
    unpriced = [*check_keys(document, _FREE_KEYS), *_surcharges(document)]
    if document.get("mcp_servers"):
        raise Uncountable("the API would call MCP servers (mcp_servers), as often as it likes")
    most_output = count_of(document, "max_tokens")
    if most_output is None:
        raise Uncountable("it has no max_tokens")
    uses, searches = _server_tools(objects_of(document, "tools"))
    compactions, others = _edits(document.get("context_management"))
    rounds = (1 + uses) * (1 + compactions)
    bounded = seen.is_bounded and rounds == 1
    return ModelRequest(
        api="anthropic",
        host=host,
        path=path,
        model=model_of(document),
        most_input=len(content) + _SYSTEM_TOKENS + seen.images * _IMAGE_TOKENS if bounded else None,
        most_output=most_output,
        rounds=rounds,
        most_searches=searches,
        cache_writes=seen.cache_writes,
        unpriced=tuple([*unpriced, *others][:8]),
    )


def _surcharges(document: Json) -> list[str]:
    """Return the keys whose values change the price."""
    standard: dict[str, tuple[object, ...]] = {
        "speed": (None, "standard"),
        "inference_geo": (None, "global"),
        "service_tier": (None, "auto", "standard_only"),
    }
    return [key for key, values in standard.items() if document.get(key) not in values]


def _server_tools(tools: Sequence[Json]) -> tuple[int, int]:
    """Return how often the API may use its own tools, and how often it may search; raises `Uncountable`."""
    uses = searches = 0
    for tool in tools:
        kind = tool.get("type")
        if kind is None or kind == "custom" or (isinstance(kind, str) and _GUEST_TOOLS.fullmatch(kind)):
            continue
        if not isinstance(kind, str) or not _BOUNDED_TOOLS.fullmatch(kind):
            raise Uncountable(f"the API runs its tool {shortened(kind)} itself, without a bound on its cost")
        most = count_of(tool, "max_uses")
        if most is None or most > _MOST_USES:
            raise Uncountable(f"its tool {shortened(kind)} needs a max_uses of at most {_MOST_USES}")
        uses += most
        searches += most if kind.startswith("web_search_") else 0
    return uses, searches


def _edits(management: object) -> tuple[int, list[str]]:
    """Return how many compactions a round may have, and the edits that are not known."""
    edits = objects_of(management, "edits") if isinstance(management, dict) else []
    kinds = [str(edit.get("type")) for edit in edits]
    others = [kind for kind in kinds if not kind.startswith(("clear_", "compact_"))]
    return sum(kind.startswith("compact_") for kind in kinds), [shortened(kind) for kind in others]


def new_usage() -> MessageUsage:
    """Return the usage of an answer of which nothing has been read."""
    return MessageUsage()


class MessageUsage:
    """The usage that an answer reports: one message, or the events of a stream."""

    def __init__(self) -> None:
        self._numbers: Json = {}
        self._stopped = False

    def take_whole(self, message: Json) -> None:
        """Take an answer that was not streamed."""
        if isinstance(usage := message.get("usage"), dict):
            self._numbers, self._stopped = usage, True

    def take_event(self, event: Json) -> None:
        """Take an event of a stream."""
        kind = event.get("type")
        if kind == "message_start":
            message = event.get("message")
            usage = message.get("usage") if isinstance(message, dict) else None
        elif kind == "message_delta":
            usage, delta = event.get("usage"), event.get("delta")
            self._stopped |= isinstance(delta, dict) and delta.get("stop_reason") is not None
        else:
            return
        if isinstance(usage, dict):
            self._numbers.update({key: value for key, value in usage.items() if value is not None})

    def usage(self) -> ModelUsage:
        """Return what is known so far."""
        if not self._numbers:
            return ModelUsage()
        iterations = self._numbers.get("iterations")
        listed = [one for one in iterations if isinstance(one, dict)] if isinstance(iterations, list) else []
        parts = [_input(one) for one in listed] or [_input(self._numbers)]
        sums = [_total([part[index] for part in parts]) for index in range(4)]
        outputs = [one.get("output_tokens") for one in listed] or [self._numbers.get("output_tokens")]
        tools = self._numbers.get("server_tool_use")
        searches = tools.get("web_search_requests", 0) if isinstance(tools, dict) else 0
        return ModelUsage(
            input_tokens=sums[0],
            cache_read_tokens=sums[1],
            cache_write_tokens=sums[2],
            cache_write_hour_tokens=sums[3],
            output_tokens=_total(outputs) if self._stopped else None,
            searches=searches if self._stopped and is_count(searches) else None,
        )


def _input(usage: Mapping[str, Any]) -> tuple[object, object, object, object]:
    """Return the input tokens of a usage: plain, read from the cache, written for five minutes, for an hour."""
    written = usage.get("cache_creation_input_tokens") or 0
    details = usage.get("cache_creation")
    hour = (details.get("ephemeral_1h_input_tokens") or 0) if isinstance(details, dict) else 0
    short = written - hour if is_count(written) and is_count(hour) else None
    return usage.get("input_tokens"), usage.get("cache_read_input_tokens") or 0, short, hour


def _total(numbers: Sequence[object]) -> int | None:
    """Return the sum, None unless all are counts."""
    counts = [one for one in numbers if is_count(one)]
    return sum(counts) if len(counts) == len(numbers) else None


def error(kind: str, message: str) -> Json:
    """Return an error in the API's own form (https://platform.claude.com/docs/en/api/errors)."""
    return {"type": "error", "error": {"type": kind, "message": message}}
