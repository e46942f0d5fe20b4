"""A script that stands in for a model: it serves Anthropic's Messages API on loopback, with answers that are fixed.

It counts the tool results in a request, and answers with the next step of a list, after the last step with its closing
words. It ignores everything else in the request. Format of the stream:
https://docs.anthropic.com/en/docs/build-with-claude/streaming
"""

from __future__ import annotations

import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_NAME = "scripted-demonstration"
_MOST_BYTES = 16 * 1024 * 1024
_SOCKET_SECONDS = 30.0
Json = dict[str, Any]


@dataclass(frozen=True)
class Step:
    """A shell command that the "model" wants the agent to run, and what it says about it."""

    command: str
    purpose: str


@dataclass(frozen=True)
class Answer:
    """What a command of a step printed in the bottle, and whether it failed."""

    text: str
    failed: bool


@dataclass
class Script:
    """The answers of the "model", and what it has seen of the agent; `key` is the API key that requests must have.

    `on_step` gets each step once, with the answer to the step before it; at the end None, with the last answer.
    """

    steps: Sequence[Step]
    closing: str
    key: str
    on_step: Callable[[Step | None, Answer | None], None] = lambda *_: None
    first_request_at: float | None = None
    with_key: int = 0
    """The number of requests with the key."""
    without_key: int = 0
    answers: list[Answer] = field(default_factory=list)
    """The result of each step, in order."""
    _taken: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def says(self, body: Json, key: str) -> Step | str | None:
        """Return the next step, the closing words, or None for a request without the key."""
        with self._lock:
            self.first_request_at = self.first_request_at or time.monotonic()
            if not hmac.compare_digest(key.encode(), self.key.encode()):
                self.without_key += 1
                return None
            self.with_key += 1
            if not body.get("tools"):
                return "ok"  # a side request of Claude Code, such as for a title
            self.answers = answers = _answers(body)[: len(self.steps)]
            step = self.steps[len(answers)] if len(answers) < len(self.steps) else None
            if len(answers) == self._taken:  # else the agent repeats a request that was cut off
                self._taken += 1
                self.on_step(step, answers[-1] if answers else None)
            return step or self.closing


@contextmanager
def serving(script: Script) -> Iterator[int]:
    """Serve the script on a port of 127.0.0.1 for the time of the block; yields the port."""
    handler = type("Handler", (_Handler,), {"script": script})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _SOCKET_SECONDS
    script: Script

    def do_HEAD(self) -> None:
        self._answer(200, b"")

    def do_GET(self) -> None:
        self._answer(404, _error("not_found_error", "this is a script that answers only /v1/messages"))

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > _MOST_BYTES:
            self.close_connection = True
            self._answer(413, _error("request_too_large", "a request needs a length, of 16 MiB at most"))
            return
        try:
            body = json.loads(self.rfile.read(int(length)))
            said = self.script.says(body, self.headers.get("x-api-key", "")) if isinstance(body, dict) else ""
        except (ValueError, TypeError, AttributeError):
            self._answer(400, _error("invalid_request_error", "this is no request of the Messages API"))
            return
        if said is None:
            self._answer(401, _error("authentication_error", "the API key is not that of the demonstration"))
        elif self.path.partition("?")[0] == "/v1/messages/count_tokens":
            self._answer(200, json.dumps({"input_tokens": 1}).encode())
        elif self.path.partition("?")[0] != "/v1/messages":
            self.do_GET()
        elif body.get("stream"):
            self._stream(said)
        else:
            self._answer(200, json.dumps(_message(_content(said), _reason(said))).encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _stream(self, said: Step | str) -> None:
        """Send each event as a chunk of its own, as a model that thinks would."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for event in _events(said):
            data = f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_: object) -> None:
        """Print nothing: the demonstration itself says what happens."""


def _answers(body: Json) -> list[Answer]:
    """Return the tool results in a request, oldest first."""
    contents = [one.get("content") for one in body.get("messages", [])]
    blocks = [block for content in contents if isinstance(content, list) for block in content]
    found = {block["tool_use_id"]: block for block in blocks if block.get("type") == "tool_result"}
    return [Answer(_text(one.get("content")), one.get("is_error") is True) for one in found.values()]


def _text(content: object) -> str:
    """Return the text of a content that is a string or a list of blocks."""
    if isinstance(content, list):
        return "\n".join(str(block.get("text", "")) for block in content if isinstance(block, dict))
    return str(content)


def _content(said: Step | str) -> list[Json]:
    if isinstance(said, str):
        return [{"type": "text", "text": said}]
    call = {"command": said.command, "description": said.purpose}
    return [
        {"type": "text", "text": said.purpose},
        {"type": "tool_use", "id": f"toolu_{abs(hash(said)):016x}", "name": "Bash", "input": call},
    ]


def _reason(said: Step | str) -> str:
    return "end_turn" if isinstance(said, str) else "tool_use"


def _message(content: list[Json], reason: str | None) -> Json:
    return {
        "id": "msg_demonstration",
        "type": "message",
        "role": "assistant",
        "model": _NAME,
        "content": content,
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }


def _events(said: Step | str) -> Iterator[Json]:
    yield {"type": "message_start", "message": _message([], None)}
    for index, block in enumerate(_content(said)):
        if block["type"] == "text":
            begun, delta = {**block, "text": ""}, {"type": "text_delta", "text": block["text"]}
        else:
            begun = {**block, "input": {}}
            delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
        yield {"type": "content_block_start", "index": index, "content_block": begun}
        yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    ended = {"stop_reason": _reason(said), "stop_sequence": None}
    yield {"type": "message_delta", "delta": ended, "usage": {"output_tokens": 1}}
    yield {"type": "message_stop"}


def _error(kind: str, message: str) -> bytes:
    return json.dumps({"type": "error", "error": {"type": kind, "message": message}}).encode()
