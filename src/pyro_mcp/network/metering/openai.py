"""Requests and answers of OpenAI's Responses and Chat Completions APIs.

Sources, read in November 2026:
https://developers.openai.com/api/reference/resources/responses (parameters, `usage`)
https://developers.openai.com/api/reference/resources/responses/streaming-events (`response.completed`, `.incomplete`
and `.failed` end a stream and hold the whole response)
https://developers.openai.com/api/reference/resources/chat (`stream_options.include_usage`: without it a stream has no
usage at all, so that nothing in it could be counted)
https://developers.openai.com/api/docs/guides/images-vision (tokens of an image)
"""

from __future__ import annotations

from collections.abc import Mapping
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
from pyro_mcp.network.metering.values import ModelRequest, ModelUsage, is_count

RESPONSES, CHAT = "/v1/responses", "/v1/chat/completions"
METERED = frozenset({("POST", RESPONSES), ("POST", CHAT)})
FREE = frozenset({("POST", "/v1/responses/input_tokens")})

_COMMON_KEYS = frozenset({
    "metadata", "model", "parallel_tool_calls", "prompt_cache_key", "prompt_cache_retention", "safety_identifier",
    "service_tier", "store", "stream", "stream_options", "temperature", "tool_choice", "tools", "top_logprobs",
    "top_p", "user", "verbosity",
})  # fmt: skip
_RESPONSES_KEYS = _COMMON_KEYS | {
    "background", "client_metadata", "conversation", "include", "input", "instructions", "max_output_tokens",
    "max_tool_calls", "previous_response_id", "prompt", "reasoning", "text", "truncation",
}  # fmt: skip
_CHAT_KEYS = _COMMON_KEYS | {
    "audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs", "max_completion_tokens",
    "max_tokens", "messages", "modalities", "n", "prediction", "presence_penalty", "reasoning_effort",
    "response_format", "seed", "stop", "web_search_options",
}  # fmt: skip
_GUEST_TOOLS = frozenset({"apply_patch", "computer_use_preview", "custom", "function", "local_shell", "namespace"})
"""The types of tools that the guest runs, not the API."""
_ENDS = frozenset({"response.completed", "response.failed", "response.incomplete"})
_STANDARD_TIERS = (None, "auto", "default", "flex")
_SYSTEM_TOKENS = 4096
_IMAGE_TOKENS = 50_000
"""More than an image takes: 48,169 tokens for gpt-4o-mini, far less for others."""


class _Content:
    """What the objects of a request say about its input."""

    def __init__(self) -> None:
        self.images = 0
        self.is_bounded = True
        self.has_audio = False

    def visit(self, found: Json) -> None:
        kind = found.get("type")
        self.images += kind in ("input_image", "image_url", "computer_screenshot")
        self.is_bounded &= kind not in ("input_file", "file", "item_reference")
        self.is_bounded &= not isinstance(found.get("file_id"), str)
        self.has_audio |= kind == "input_audio"


def read_request(content: bytes, host: str, path: str) -> ModelRequest:
    """Return what a request to one of `METERED` may use at most; raises `Uncountable`."""
    seen = _Content()
    document = read_document(content, seen.visit)
    if seen.has_audio:
        raise Uncountable("audio has a price of its own")
    _check_tools(document)
    read = _responses if path == RESPONSES else _chat
    bounded, most_output, rounds, unknown = read(document)
    tier = [] if document.get("service_tier") in _STANDARD_TIERS else ["service_tier"]
    most_input = len(content) + _SYSTEM_TOKENS + seen.images * _IMAGE_TOKENS
    return ModelRequest(
        api="openai",
        host=host,
        path=path,
        model=model_of(document),
        most_input=most_input if bounded and seen.is_bounded else None,
        most_output=most_output,
        rounds=rounds,
        cache_writes="5m",  # newer models write to a cache without being asked
        unpriced=tuple([*unknown, *tier][:8]),
    )


def _check_tools(holder: Json) -> None:
    """Raise `Uncountable` unless the guest runs all tools of a request or a namespace."""
    for tool in objects_of(holder, "tools"):
        kind = tool.get("type")
        if not isinstance(kind, str) or kind not in _GUEST_TOOLS:
            raise Uncountable(f"the API runs its tool {shortened(kind)} itself, without a bound on its cost")
        _check_tools(tool)


def _responses(document: Json) -> tuple[bool, int | None, int, tuple[str, ...]]:
    """Return whether the request holds its whole input, its output limit, its rounds, and its unknown keys."""
    unknown = check_keys(document, _RESPONSES_KEYS)
    if document.get("background"):
        raise Uncountable("its answer would be fetched later (background)")
    stored = any(document.get(key) is not None for key in ("previous_response_id", "conversation", "prompt"))
    return not stored, count_of(document, "max_output_tokens"), 1, unknown


def _chat(document: Json) -> tuple[bool, int | None, int, tuple[str, ...]]:
    unknown = check_keys(document, _CHAT_KEYS)
    for key in ("audio", "prediction", "web_search_options"):
        if document.get(key) is not None:
            raise Uncountable(f"its {key} has a price of its own")
    if document.get("modalities") not in (None, ["text"]):
        raise Uncountable("only text has a known price (modalities)")
    options = document.get("stream_options")
    if document.get("stream") and not (isinstance(options, dict) and options.get("include_usage") is True):
        raise Uncountable('its stream would not say what it used; set "stream_options": {"include_usage": true}')
    limits = [count_of(document, key) for key in ("max_completion_tokens", "max_tokens")]
    given = [one for one in limits if one is not None]
    answers = count_of(document, "n")
    return True, max(given) if given else None, 1 if answers is None else max(1, answers), unknown


def new_usage() -> OpenAIUsage:
    """Return the usage of an answer of which nothing has been read."""
    return OpenAIUsage()


class OpenAIUsage:
    """The usage that an answer reports: one response, or the events of a stream."""

    def __init__(self) -> None:
        self._usage: Json | None = None

    def take_whole(self, response: Json) -> None:
        """Take an answer that was not streamed."""
        self._take(response.get("usage"))

    def take_event(self, event: Json) -> None:
        """Take an event of a stream."""
        if event.get("type") in _ENDS:
            response = event.get("response")
            self._take(response.get("usage") if isinstance(response, dict) else None)
        elif "type" not in event:  # a chunk of a chat
            self._take(event.get("usage"))

    def _take(self, usage: object) -> None:
        if isinstance(usage, dict):
            self._usage = usage

    def usage(self) -> ModelUsage:
        """Return what is known so far: nothing before the end."""
        if self._usage is None:
            return ModelUsage()
        usage = self._usage
        whole = usage.get("input_tokens", usage.get("prompt_tokens"))
        details = usage.get("input_tokens_details", usage.get("prompt_tokens_details"))
        read, written = (_detail(details, key) for key in ("cached_tokens", "cache_write_tokens"))
        output = usage.get("output_tokens", usage.get("completion_tokens"))
        plain = None
        if is_count(whole) and read is not None and written is not None and read + written <= whole:
            plain = whole - read - written
        return ModelUsage(
            input_tokens=plain,
            cache_read_tokens=read,
            cache_write_tokens=written,
            cache_write_hour_tokens=0,
            output_tokens=output if is_count(output) else None,
            searches=0,
        )


def _detail(details: object, key: str) -> int | None:
    value = (details.get(key) or 0) if isinstance(details, Mapping) else 0
    return value if is_count(value) else None


def error(kind: str, message: str) -> dict[str, Any]:
    """Return an error in the API's own form (https://developers.openai.com/api/docs/guides/error-codes)."""
    return {"error": {"message": message, "type": kind, "param": None, "code": kind}}
