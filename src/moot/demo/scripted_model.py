"""A script that stands in for the models of several agents: it serves Anthropic's Messages API on loopback.

The API key of a request says which agent asks. What its "model" says is a generator: it yields the calls of tools that
it wants and gets their results; when it yields `Rest`, the turn ends, and it gets the next message from the space.
Format of the stream: https://docs.anthropic.com/en/docs/build-with-claude/streaming
"""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeAlias

Json = dict[str, Any]
_BLOCK = re.compile(
    r'<channel source="convo[^>]*? event_type="mention"[^>]*? event_id="(\w+)"[^>]*>.*?</channel>', re.DOTALL
)
_MOST_BYTES = 16 * 1024 * 1024
_SOCKET_SECONDS = 30.0
_PATIENCE = 20
"""How often an agent may look for tools of a server that has not connected yet."""


@dataclass(frozen=True)
class Call:
    """The model wants this tool."""

    tool: str
    arguments: Json


@dataclass(frozen=True)
class Rest:
    """The model ends its turn with these words, and waits for a message."""

    words: str


@dataclass(frozen=True)
class Message:
    """A message from the space, as the agent has read it."""

    event_id: str
    text: str


Play: TypeAlias = "Generator[Call | Rest, str | Message, None]"


@dataclass
class Player:
    """The model of one agent, at one point of its play."""

    play: Play
    last_words: str
    resting: threading.Event = field(default_factory=threading.Event)
    """Set when the script of this model has ended, or has failed."""
    failure: str = ""
    messages: list[Message] = field(default_factory=list)
    """The messages that the agent has read, in order."""
    copies: Counter[str] = field(default_factory=Counter)
    """How often each of them is in the agent's conversation, by event id."""
    _wanted: Call | Rest | None = None
    _number: int = 0
    _waits: int = 0
    _unread: list[Message] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def says(self, body: Json) -> Json | str:
        """Return the content block of a tool call, or words that end the turn."""
        with self._lock:
            tools = [one.get("name") for one in body.get("tools") or ()]
            if not tools:
                return "ok"  # a side request of Claude Code, such as for a title
            if self._wanted is None and not self._number:
                self._go_on(None)
            results = _results(body)
            read = {one.event_id for one in self.messages}
            found = _messages(body)
            for event_id, count in Counter(one.event_id for one in found).items():
                self.copies[event_id] = max(self.copies[event_id], count)
            for message in found:
                if message.event_id not in read:
                    self.messages.append(message)
                    read.add(message.event_id)
                    self._unread.append(message)
            if isinstance(self._wanted, Call) and self._id in results:
                self._go_on(results[self._id])
            if isinstance(self._wanted, Rest) and self._unread:
                self._go_on(self._unread.pop(0))
            return self._said(tools)

    def _said(self, tools: list[Any]) -> Json | str:
        if isinstance(self._wanted, Rest):
            if self._wanted.words == self.last_words:
                self.resting.set()
            return self._wanted.words
        if self._wanted is None:
            return self.failure or "There is nothing left to do."
        if self._wanted.tool in tools:
            return {"type": "tool_use", "id": self._id, "name": self._wanted.tool, "input": self._wanted.arguments}
        self._waits += 1
        if self._waits > _PATIENCE:
            self._fail(f"Claude Code does not offer {self._wanted.tool}")
            return self.failure
        wait = {"command": "sleep 1", "description": "wait for the tools of the space"}
        return {"type": "tool_use", "id": f"toolu_wait{self._waits:04d}", "name": "Bash", "input": wait}

    @property
    def _id(self) -> str:
        return f"toolu_step{self._number:04d}"

    def _go_on(self, answer: str | Message | None) -> None:
        self._number += 1
        try:
            self._wanted = next(self.play) if answer is None else self.play.send(answer)
        except StopIteration:
            self._wanted = None
            self.resting.set()
        except LookupError as error:
            self._fail(str(error))

    def _fail(self, failure: str) -> None:
        self._wanted, self.failure = None, failure
        self.resting.set()


@contextmanager
def serving(players: Mapping[str, Player]) -> Iterator[str]:
    """Serve the models of the players, by API key, on a port of 127.0.0.1 while the block runs; yields the address."""
    handler = type("Handler", (_Handler,), {"players": players})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _SOCKET_SECONDS
    players: Mapping[str, Player]

    def do_HEAD(self) -> None:
        self._answer(200, {})

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
        except ValueError:
            body = None
        player = self.players.get(self.headers.get("x-api-key", ""))
        path = self.path.partition("?")[0]
        if not isinstance(body, dict):
            self._answer(400, _error("invalid_request_error", "this is no request of the Messages API"))
        elif player is None:
            self._answer(401, _error("authentication_error", "this API key is of no agent of the demonstration"))
        elif path == "/v1/messages/count_tokens":
            self._answer(200, {"input_tokens": 1})
        elif path != "/v1/messages":
            self.do_GET()
        else:
            self._say(player.says(body), stream=bool(body.get("stream")))

    def _say(self, said: Json | str, *, stream: bool) -> None:
        block = {"type": "text", "text": said} if isinstance(said, str) else said
        reason = "end_turn" if isinstance(said, str) else "tool_use"
        if stream:
            data = "".join(f"event: {one['type']}\ndata: {json.dumps(one)}\n\n" for one in _events(block, reason))
            self._send(200, "text/event-stream", data.encode())
        else:
            self._answer(200, _message([block], reason))

    def _answer(self, status: int, body: Json) -> None:
        self._send(status, "application/json", json.dumps(body).encode())

    def _send(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Print nothing: the demonstration itself says what happens."""


def _blocks(body: Json) -> Iterator[Json]:
    """Return the blocks of a conversation, and of the instructions that are added to it, in order."""
    for message in [*(body.get("messages") or ()), {"content": body.get("system")}]:
        content = message.get("content")
        yield from [{"type": "text", "text": content}] if isinstance(content, str) else content or []


def _messages(body: Json) -> list[Message]:
    """Return the messages from the space that a request has; those that a tool has returned do not count."""
    texts = [str(one.get("text", "")) for one in _blocks(body) if one.get("type") == "text"]
    return [Message(found[1], found[0]) for text in texts for found in _BLOCK.finditer(text)]


def _results(body: Json) -> dict[str, str]:
    found = {}
    for block in _blocks(body):
        if block.get("type") == "tool_result":
            content = block.get("content")
            parts = [str(one.get("text", "")) for one in content] if isinstance(content, list) else [str(content or "")]
            found[str(block.get("tool_use_id"))] = "\n".join(parts)
    return found


def _message(content: list[Json], reason: str | None) -> Json:
    return {
        "id": "msg_demonstration",
        "type": "message",
        "role": "assistant",
        "model": "scripted-demonstration",
        "content": content,
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }


def _events(block: Json, reason: str) -> Iterator[Json]:
    yield {"type": "message_start", "message": _message([], None)}
    if block["type"] == "text":
        begun, delta = {**block, "text": ""}, {"type": "text_delta", "text": block["text"]}
    else:
        begun = {**block, "input": {}}
        delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
    yield {"type": "content_block_start", "index": 0, "content_block": begun}
    yield {"type": "content_block_delta", "index": 0, "delta": delta}
    yield {"type": "content_block_stop", "index": 0}
    ended = {"stop_reason": reason, "stop_sequence": None}
    yield {"type": "message_delta", "delta": ended, "usage": {"output_tokens": 1}}
    yield {"type": "message_stop"}


def _error(kind: str, message: str) -> Json:
    return {"type": "error", "error": {"type": kind, "message": message}}
