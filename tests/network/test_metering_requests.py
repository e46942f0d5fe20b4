"""What requests to the APIs of models may use at most, and which of them cannot be counted."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pyro_mcp.network.metering.answer import is_free, read_request
from pyro_mcp.network.metering.document import Uncountable
from pyro_mcp.network.metering.values import Api, ModelRequest

MESSAGE: dict[str, Any] = {
    "model": "claude-haiku-4-5",
    "max_tokens": 32000,
    "stream": True,
    "messages": [{"role": "user", "content": "hello"}],
}
RESPONSE: dict[str, Any] = {"model": "gpt-5.4", "input": [{"role": "user", "content": "hello"}], "stream": True}
CHAT: dict[str, Any] = {"model": "gpt-5.4", "messages": [{"role": "user", "content": "hello"}]}


def anthropic(**change: object) -> ModelRequest:
    return raw("anthropic", "/v1/messages", json.dumps({**MESSAGE, **change}).encode())


def responses(**change: object) -> ModelRequest:
    return raw("openai", "/v1/responses", json.dumps({**RESPONSE, **change}).encode())


def chat(**change: object) -> ModelRequest:
    return raw("openai", "/v1/chat/completions", json.dumps({**CHAT, **change}).encode())


def raw(api: Api, path: str, content: bytes) -> ModelRequest:
    return read_request(api, "POST", path, "api.example.com", content)


def source(kind: str) -> dict[str, object]:
    return {"type": kind, "media_type": "application/pdf", "data": "AAAA", "url": "https://a.example/", "file_id": "f"}


def test_a_message_is_bounded_by_its_bytes_and_max_tokens() -> None:
    asked = anthropic()
    assert (asked.model, asked.most_output, asked.rounds, asked.unpriced) == ("claude-haiku-4-5", 32000, 1, ())
    assert asked.most_input is not None and len(json.dumps(MESSAGE)) <= asked.most_input <= 10_000
    longer = anthropic(system="x" * 50_000)
    assert longer.most_input is not None and longer.most_input - asked.most_input >= 50_000


def test_a_request_without_its_own_limit_leaves_the_limit_to_the_model() -> None:
    assert responses().most_output is None and chat().most_output is None
    assert responses(max_output_tokens=500).most_output == 500
    assert chat(max_tokens=10, max_completion_tokens=20).most_output == 20
    assert chat(n=3).rounds == 3


def test_an_image_counts_more_than_its_bytes_and_a_document_as_much_as_fits() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
    seen = anthropic(messages=[{"role": "user", "content": [image]}])
    assert seen.most_input is not None and seen.most_input > 5000
    for kind in ("base64", "url", "file"):
        document = {"type": "document", "source": source(kind)}
        assert anthropic(messages=[{"role": "user", "content": [document]}]).most_input is None
    upload = {"type": "container_upload", "file_id": "f"}
    assert anthropic(messages=[{"role": "user", "content": [upload]}]).most_input is None
    assert anthropic(tools=[{"name": "t", "input_schema": {"file_id": {"type": "string"}}}]).most_input is not None
    text = {"type": "document", "source": {"type": "text", "data": "hello"}}
    assert anthropic(messages=[{"role": "user", "content": [text]}]).most_input is not None
    assert responses(input=[{"content": [{"type": "input_file", "file_id": "f"}]}]).most_input is None
    assert responses(previous_response_id="r").most_input is None
    assert responses(input=[{"type": "item_reference", "id": "i"}]).most_input is None


def test_the_use_of_the_cache_is_seen() -> None:
    block = {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}
    hour = {**block, "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    assert anthropic().cache_writes == ""
    assert anthropic(system=[block]).cache_writes == "5m"
    assert anthropic(system=[hour, block]).cache_writes == "1h"
    assert anthropic(system=[block, hour]).cache_writes == "1h"
    assert anthropic(cache_control={"type": "ephemeral", "ttl": "1h"}).cache_writes == "1h"


def test_tools_of_the_guest_cost_nothing_by_themselves() -> None:
    tools = [{"name": "Bash", "input_schema": {}}, {"type": "custom", "name": "a"}, {"type": "bash_20250124"}]
    assert anthropic(tools=tools).rounds == 1
    assert responses(tools=[{"type": "function", "name": "a"}, {"type": "custom", "name": "b"}]).rounds == 1


def test_a_bounded_tool_of_the_api_counts_for_every_use() -> None:
    search = {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}
    fetch = {"type": "web_fetch_20250910", "name": "web_fetch", "max_uses": 2}
    asked = anthropic(tools=[search, fetch])
    assert (asked.rounds, asked.most_searches, asked.most_input) == (6, 3, None)


def test_a_compaction_reads_the_input_once_more() -> None:
    asked = anthropic(context_management={"edits": [{"type": "compact_20260112"}, {"type": "clear_thinking_20251015"}]})
    assert (asked.rounds, asked.most_input) == (2, None)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"speed": "fast"}, ("speed",)),
        ({"inference_geo": "us"}, ("inference_geo",)),
        ({"service_tier": "priority"}, ("service_tier",)),
        ({"container": "c"}, ("container",)),
        ({"something_new": 1}, ("something_new",)),
        ({"context_management": {"edits": [{"type": "other_20300101"}]}}, ("other_20300101",)),
        ({"speed": "standard", "inference_geo": "global", "service_tier": "auto"}, ()),
    ],
)
def test_what_may_change_the_price_is_named(change: dict[str, object], named: tuple[str, ...]) -> None:
    assert anthropic(**change).unpriced == named


def test_what_may_change_the_price_at_openai_is_named() -> None:
    assert responses(service_tier="priority").unpriced == ("service_tier",)
    assert responses(service_tier="flex").unpriced == ()
    assert chat(something_new=True).unpriced == ("something_new",)


@pytest.mark.parametrize(
    "change",
    [
        {"model": None},
        {"model": "x" * 200},
        {"max_tokens": None},
        {"max_tokens": "32000"},
        {"max_tokens": 1.5},
        {"max_tokens": True},
        {"max_tokens": -1},
        {"MAX_TOKENS": 1},
        {"mcp_servers": [{"url": "https://a.example"}]},
        {"tools": [{"type": "code_execution_20250825", "name": "code_execution"}]},
        {"tools": [{"type": "tool_search_tool_regex_20251119", "name": "t"}]},
        {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
        {"tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 1_000_000}]},
        {"tools": [{"type": "bash_code_execution_20250825", "name": "x"}]},
        {"tools": [{"type": "web_search_anything", "max_uses": 1}]},
        {"tools": [{"type": ["custom"]}]},
        {"tools": "all"},
        {"context_management": {"edits": "all"}},
    ],
)
def test_a_message_that_cannot_be_counted_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(Uncountable):
        anthropic(**change)


@pytest.mark.parametrize(
    "change",
    [
        {"background": True},
        {"tools": [{"type": "web_search"}]},
        {"tools": [{"type": "mcp", "server_url": "https://a.example"}]},
        {"tools": [{"type": "image_generation"}]},
        {"tools": [{"type": "namespace", "name": "n", "tools": [{"type": "web_search"}]}]},
        {"tools": [{"type": ["function"]}]},
        {"tools": [{}]},
        {"max_output_tokens": "9"},
        {"Max_Output_Tokens": 9},
        {"input": [{"content": [{"type": "input_audio"}]}]},
    ],
)
def test_a_response_that_cannot_be_counted_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(Uncountable):
        responses(**change)


@pytest.mark.parametrize(
    "change",
    [
        {"stream": True},
        {"stream": True, "stream_options": {"include_usage": False}},
        {"prediction": {"content": "x"}},
        {"modalities": ["text", "audio"]},
        {"audio": {}},
        {"web_search_options": {}},
    ],
)
def test_a_chat_that_cannot_be_counted_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(Uncountable):
        chat(**change)


def test_a_chat_that_reports_its_usage_is_counted() -> None:
    assert chat(stream=True, stream_options={"include_usage": True}).most_input is not None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"\xff\xfe{}",
        json.dumps(MESSAGE).encode("utf-16"),
        b'{"max_tokens": 1, "max_tokens": 64000, "model": "m", "messages": []}',
        b'{"model": "m", "max_tokens": 1, "messages": [{"content": "a", "content": [{"type": "document"}]}]}',
        b'{"model": "m", "max_tokens": NaN}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"model": "m", "max_tokens": ' + b"9" * 10_000 + b"}",
    ],
)
def test_content_that_parsers_read_differently_is_refused(content: bytes) -> None:
    with pytest.raises(Uncountable):
        raw("anthropic", "/v1/messages", content)


@pytest.mark.parametrize(
    ("api", "path"),
    [
        ("anthropic", "/v1/messages/batches"),
        ("anthropic", "/v1/complete"),
        ("anthropic", "/v1/messages/"),
        ("anthropic", "/v1/files"),
        ("anthropic", "/v1/responses"),
        ("openai", "/v1/batches"),
        ("openai", "/v1/embeddings"),
        ("openai", "/v1/images/generations"),
        ("openai", "/v1/models/gpt-5:generateContent"),
        ("openai", "/v1/responses/compact"),
    ],
)
def test_an_endpoint_whose_cost_is_not_known_is_refused(api: Api, path: str) -> None:
    assert not is_free(api, "POST", path)
    with pytest.raises(Uncountable, match="not known"):
        raw(api, path, json.dumps(MESSAGE).encode())


def test_endpoints_that_cost_nothing_pass() -> None:
    assert is_free("anthropic", "POST", "/v1/messages/count_tokens") and is_free("anthropic", "GET", "/v1/models")
    assert is_free("openai", "POST", "/v1/responses/input_tokens") and is_free("openai", "HEAD", "/")
    assert not is_free("openai", "PUT", "/v1/responses") and not is_free("anthropic", "POST", "/v1/messages")
