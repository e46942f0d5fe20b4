"""The wire formats of four model APIs: what a request offers and brings, and how words and tool calls are said."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

Json = dict[str, Any]


@dataclass(frozen=True)
class Request:
    """The tools that a request offers by their full names, and the answers it brings by the id of their call."""

    tools: list[str]
    results: dict[str, str] = field(default_factory=dict)


class Dialect(Protocol):
    content_type: str

    def read(self, body: Json) -> Request: ...
    def words(self, text: str) -> bytes: ...
    def call(self, call_id: str, name: str, arguments: Json) -> bytes: ...


def of(path: str) -> Dialect | None:
    """The dialect spoken at a path."""
    for ending, dialect in _BY_PATH.items():
        if path.endswith(ending):
            return dialect
    return None


def _events(events: Iterable[Json]) -> bytes:
    return b"".join(f"event: {one['type']}\ndata: {json.dumps(one)}\n\n".encode() for one in events)


def _text(content: object) -> str:
    """The text of a content that is a string or a list of blocks."""
    if isinstance(content, list):
        return "".join(str(block.get("text", "")) for block in content if isinstance(block, dict))
    return str(content)


class Anthropic:
    """https://docs.anthropic.com/en/docs/build-with-claude/streaming"""

    content_type = "text/event-stream"

    def read(self, body: Json) -> Request:
        results = {
            block["tool_use_id"]: _text(block.get("content", ""))
            for message in body.get("messages", [])
            if isinstance(message["content"], list)
            for block in message["content"]
            if block["type"] == "tool_result"
        }
        return Request([tool["name"] for tool in body.get("tools", [])], results)

    def words(self, text: str) -> bytes:
        block = {"type": "text", "text": ""}
        return self._message(block, {"type": "text_delta", "text": text}, "end_turn")

    def call(self, call_id: str, name: str, arguments: Json) -> bytes:
        block = {"type": "tool_use", "id": call_id, "name": name, "input": {}}
        delta = {"type": "input_json_delta", "partial_json": json.dumps(arguments)}
        return self._message(block, delta, "tool_use")

    def _message(self, block: Json, delta: Json, reason: str) -> bytes:
        usage = {"input_tokens": 1, "output_tokens": 1}
        message: Json = {"id": "msg_1", "type": "message", "role": "assistant", "model": "scripted", "content": []}
        message |= {"stop_reason": None, "stop_sequence": None, "usage": usage}
        return _events([
            {"type": "message_start", "message": message},
            {"type": "content_block_start", "index": 0, "content_block": block},
            {"type": "content_block_delta", "index": 0, "delta": delta},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}, "usage": usage},
            {"type": "message_stop"},
        ])  # fmt: skip


class Responses:
    """https://platform.openai.com/docs/api-reference/responses-streaming"""

    content_type = "text/event-stream"

    def read(self, body: Json) -> Request:
        results = {
            item["call_id"]: _text(item["output"])
            for item in body.get("input", [])
            if isinstance(item, dict) and item.get("type") == "function_call_output"
        }
        return Request(list(self._names(body.get("tools", []))), results)

    def _names(self, tools: list[Json]) -> Iterable[str]:
        for tool in tools:
            if tool.get("type") == "namespace":
                yield from (f"{tool['name']}.{inner['name']}" for inner in tool["tools"])
            elif "name" in tool:
                yield tool["name"]

    def words(self, text: str) -> bytes:
        content = [{"type": "output_text", "text": text, "annotations": []}]
        return self._response({"type": "message", "role": "assistant", "id": "msg_1", "content": content})

    def call(self, call_id: str, name: str, arguments: Json) -> bytes:
        item = {"type": "function_call", "id": f"fc_{call_id}", "call_id": call_id, "arguments": json.dumps(arguments)}
        namespace, _, inner = name.rpartition(".")
        return self._response(item | ({"name": inner, "namespace": namespace} if namespace else {"name": name}))

    def _response(self, item: Json) -> bytes:
        usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
        return _events([
            {"type": "response.created", "response": {"id": "resp_1"}},
            {"type": "response.output_item.done", "output_index": 0, "item": item},
            {"type": "response.completed", "response": {"id": "resp_1", "usage": usage}},
        ])  # fmt: skip


class Completions:
    """https://platform.openai.com/docs/api-reference/chat-streaming"""

    content_type = "text/event-stream"

    def read(self, body: Json) -> Request:
        results = {
            message["tool_call_id"]: _text(message["content"])
            for message in body.get("messages", [])
            if message["role"] == "tool"
        }
        return Request([tool["function"]["name"] for tool in body.get("tools", [])], results)

    def words(self, text: str) -> bytes:
        return self._chunks({"role": "assistant", "content": text}, "stop")

    def call(self, call_id: str, name: str, arguments: Json) -> bytes:
        function = {"name": name, "arguments": json.dumps(arguments)}
        call = {"index": 0, "id": call_id, "type": "function", "function": function}
        return self._chunks({"role": "assistant", "tool_calls": [call]}, "tool_calls")

    def _chunks(self, delta: Json, reason: str) -> bytes:
        head = {"id": "chat_1", "object": "chat.completion.chunk", "created": 1, "model": "scripted"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        chunks = [
            {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]},
            {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}], "usage": usage},
        ]
        return b"".join(f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks) + b"data: [DONE]\n\n"


class Ollama:
    """https://docs.ollama.com/api/chat; a call has no id, so the answers are counted."""

    content_type = "application/json"

    def read(self, body: Json) -> Request:
        answers = [message for message in body["messages"] if message["role"] == "tool"]
        results = {f"call_{number:04d}": answer["content"] for number, answer in enumerate(answers, 1)}
        return Request([tool["function"]["name"] for tool in body.get("tools", [])], results)

    def words(self, text: str) -> bytes:
        return self._message({"role": "assistant", "content": text})

    def call(self, call_id: str, name: str, arguments: Json) -> bytes:
        call = {"function": {"name": name, "arguments": arguments}}
        return self._message({"role": "assistant", "content": "", "tool_calls": [call]})

    def _message(self, message: Json) -> bytes:
        return json.dumps({"model": "scripted", "message": message, "done": True}).encode()


_BY_PATH: dict[str, Dialect] = {
    "/v1/messages": Anthropic(),
    "/responses": Responses(),
    "/chat/completions": Completions(),
    "/api/chat": Ollama(),
}
