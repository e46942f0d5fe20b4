"""The usage in the answers of models' APIs, in whichever pieces their bytes arrive."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyro_mcp.network.metering import answer
from pyro_mcp.network.metering.answer import AnswerReader
from pyro_mcp.network.metering.events import EventParser
from pyro_mcp.network.metering.values import NOTHING_USED, Api, ModelUsage

STREAM, JSON = b"text/event-stream; charset=utf-8", b"application/json"


def events(*found: dict[str, Any]) -> bytes:
    return b"".join(f"event: {one.get('type', 'x')}\ndata: {json.dumps(one)}\n\n".encode() for one in found)


def delta(text: str) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}


START: dict[str, Any] = {
    "type": "message_start",
    "message": {
        "usage": {
            "input_tokens": 25,
            "cache_creation_input_tokens": 300,
            "cache_read_input_tokens": 4000,
            "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 200},
            "output_tokens": 1,
        }
    },
}
STOP = {
    "type": "message_delta",
    "delta": {"stop_reason": "end_turn"},
    "usage": {"output_tokens": 57, "server_tool_use": {"web_search_requests": 2}},
}
MESSAGE = events(
    START, {"type": "ping"}, delta('data: {"usage": {"output_tokens": 9}}\n\n'), STOP, {"type": "message_stop"}
)
USED = ModelUsage(
    input_tokens=25,
    cache_read_tokens=4000,
    cache_write_tokens=100,
    cache_write_hour_tokens=200,
    output_tokens=57,
    searches=2,
)
RESPONSE_USAGE = {
    "input_tokens": 1000,
    "input_tokens_details": {"cached_tokens": 600, "cache_write_tokens": 100},
    "output_tokens": 70,
    "output_tokens_details": {"reasoning_tokens": 64},
}
RESPONSE = events(
    {"type": "response.created", "response": {"usage": None}},
    {"type": "response.output_text.delta", "delta": "usage"},
    {"type": "response.completed", "response": {"usage": RESPONSE_USAGE}},
)
RESPONSE_USED = ModelUsage(
    input_tokens=300,
    cache_read_tokens=600,
    cache_write_tokens=100,
    cache_write_hour_tokens=0,
    output_tokens=70,
    searches=0,
)
CHAT = (
    b'data: {"choices": [{"delta": {"content": "hi"}}], "usage": null}\r\n\r\n'
    b'data: {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 3}}\r\n\r\ndata: [DONE]\r\n\r\n'
)
CHAT_USED = ModelUsage(
    input_tokens=9, cache_read_tokens=0, cache_write_tokens=0, cache_write_hour_tokens=0, output_tokens=3, searches=0
)
STREAMS: list[tuple[Api, bytes, ModelUsage]] = [
    ("anthropic", MESSAGE, USED),
    ("openai", RESPONSE, RESPONSE_USED),
    ("openai", CHAT, CHAT_USED),
]


def read(api: Api, content: bytes, *, kind: bytes = STREAM, status: int = 200, complete: bool = True) -> ModelUsage:
    reader = AnswerReader(api, status, kind)
    reader.feed(content)
    return reader.end(complete=complete)


@pytest.mark.parametrize(("api", "stream", "used"), STREAMS)
@given(st.data())
def test_a_stream_is_counted_however_its_bytes_are_split(
    api: Api, stream: bytes, used: ModelUsage, data: st.DataObject
) -> None:
    reader, at = AnswerReader(api, 200, STREAM), 0
    while at < len(stream):
        size = data.draw(st.integers(1, len(stream) - at))
        reader.feed(stream[at : at + size])
        at += size
    assert reader.end(complete=True) == used and used.is_known


@pytest.mark.parametrize(("api", "stream", "used"), STREAMS)
def test_a_stream_is_counted_byte_by_byte(api: Api, stream: bytes, used: ModelUsage) -> None:
    reader = AnswerReader(api, 200, STREAM)
    for byte in stream:
        reader.feed(bytes([byte]))
    assert reader.end(complete=True) == used


def test_an_answer_that_is_not_streamed_is_counted() -> None:
    message = {**START["message"], "stop_reason": "end_turn"}
    found = read("anthropic", json.dumps(message).encode(), kind=JSON)
    assert (found.input_tokens, found.output_tokens, found.is_known) == (25, 1, True)
    assert read("openai", json.dumps({"usage": RESPONSE_USAGE}).encode(), kind=JSON) == RESPONSE_USED


def test_the_iterations_of_a_compaction_are_added() -> None:
    usage = {
        "input_tokens": 23_000,
        "output_tokens": 1000,
        "iterations": [
            {"type": "compaction", "input_tokens": 180_000, "output_tokens": 3500},
            {"type": "message", "input_tokens": 23_000, "output_tokens": 1000},
        ],
    }
    found = read("anthropic", json.dumps({"usage": usage}).encode(), kind=JSON)
    assert (found.input_tokens, found.output_tokens) == (203_000, 4500)


@pytest.mark.parametrize("stop", range(1, len(MESSAGE), 23))
def test_what_a_cut_stream_does_not_say_is_not_known(stop: int) -> None:
    found = read("anthropic", MESSAGE[:stop], complete=False)
    stopped = stop >= MESSAGE.index(b'{"type": "message_stop"') - len("event: message_stop\ndata: ")
    assert found.is_known == stopped
    assert found.output_tokens == (57 if stopped else None)
    assert found.input_is_known == (stop >= MESSAGE.index(b"event: ping"))


def test_an_error_in_a_stream_leaves_its_output_unknown() -> None:
    found = read("anthropic", events(START, {"type": "error", "error": {"type": "overloaded_error"}}))
    assert found.input_is_known and not found.is_known
    assert not read("openai", events({"type": "response.failed", "response": {"usage": None}})).is_known


def test_a_refused_request_has_used_nothing() -> None:
    for status in (400, 401, 429, 500, 529):
        error = json.dumps({"type": "error", "usage": {"input_tokens": 5}}).encode()
        assert read("anthropic", error, kind=JSON, status=status) == NOTHING_USED


@pytest.mark.parametrize("kind", [b"", b"text/html", b"application/x-ndjson", b"application/octet-stream"])
def test_an_answer_of_another_type_leaves_its_usage_unknown(kind: bytes) -> None:
    message = json.dumps({"usage": {"input_tokens": 1, "output_tokens": 1}}).encode()
    assert read("anthropic", message, kind=kind) == ModelUsage()


@pytest.mark.parametrize("value", [-1, True, 1.5, "9", 1 << 60, [], {}, None])
@pytest.mark.parametrize("key", ["input_tokens", "output_tokens"])
def test_a_number_that_is_no_count_is_not_taken(key: str, value: object) -> None:
    usage = {"input_tokens": 1, "output_tokens": 1, key: value}
    assert not read("anthropic", json.dumps({"usage": usage}).encode(), kind=JSON).is_known
    assert not read("openai", json.dumps({"usage": usage}).encode(), kind=JSON).is_known


def test_more_cached_tokens_than_tokens_are_not_taken() -> None:
    usage = {"input_tokens": 10, "input_tokens_details": {"cached_tokens": 11}, "output_tokens": 1}
    assert not read("openai", json.dumps({"usage": usage}).encode(), kind=JSON).is_known


@given(st.binary(max_size=300) | st.text(max_size=200).map(str.encode), st.sampled_from(["anthropic", "openai"]))
def test_hostile_bytes_are_never_an_error(content: bytes, api: Api) -> None:
    wrapped = b'data: {"usage": ' + content + b"}\n\n" + content
    assert not read(api, wrapped).is_known or b"tokens" in content
    assert not read(api, content, kind=JSON).is_known or b"tokens" in content


@given(st.recursive(st.none() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner) | st.dictionaries(
    st.sampled_from(["usage", "message", "type", "delta", "response", "iterations", "input_tokens", "server_tool_use"]),
    inner,
)))  # fmt: skip
def test_hostile_documents_are_never_an_error(found: object) -> None:
    for api in ("anthropic", "openai"):
        for kind in ("message_start", "message_delta", "response.completed", ""):
            event = {"type": kind, "usage": found, "message": found, "response": found, "delta": found}
            read(api, events(event) + events({"usage": found}))
        read(api, json.dumps({"usage": found}).encode(), kind=JSON)


def test_nesting_without_end_is_not_known() -> None:
    assert not read("anthropic", b'data: {"usage": ' + b"[" * 200_000 + b"\n\n").is_known


def test_a_huge_event_is_left_out_and_the_next_one_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer, "MOST_ANSWER_BYTES", 1000)
    reader = AnswerReader("anthropic", 200, STREAM)
    for _ in range(100):
        reader.feed(b"data: " + b"x" * 500)
    reader.feed(b"\n\n" + MESSAGE)
    assert reader.end(complete=True) == USED


def test_the_parser_of_events_keeps_no_more_than_it_may() -> None:
    parser = EventParser(64)
    assert list(parser.feed(b"data: " + b"x" * 100_000)) == []
    assert list(parser.feed(b"x\r")) == [] and list(parser.feed(b"\n\r\ndata: 1\n\n")) == [b"1"]
    assert list(parser.feed(b": comment\nid: 7\ndata: a\ndata:b\n\n")) == [b"a\nb"]


@given(st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"data: a", b"data:", b":", b"x"]), max_size=30), st.data())
def test_the_ends_of_lines_may_be_split_anywhere(parts: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(parts)
    whole = list(EventParser(100).feed(stream))
    parser, found, at = EventParser(100), [], 0
    while at < len(stream):
        size = data.draw(st.integers(1, len(stream) - at))
        found += list(parser.feed(stream[at : at + size]))
        at += size
    assert found == whole
