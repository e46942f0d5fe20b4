"""A model without a model: a scripted stand-in for the HTTP API that a chat host asks what to do next.

One server on loopback speaks the four dialects that the hosts of these tests use: Anthropic's `/v1/messages`,
OpenAI's `/v1/responses` and `/v1/chat/completions` (all streaming), and Ollama's `/api/chat`. What the "model" does is
a generator: it yields the tool calls it wants, receives what each answered, and returns its closing words.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar, TypeAlias

from pyro_mcp.errors import PyroError
from tests.chat_hosts import dialects

# Claude Code offers the tools of servers only after the model has searched for them, unless told otherwise.
SEARCH = "ToolSearch"


@dataclass(frozen=True)
class Call:
    """The model wants this tool; `tool` is its name without what the host puts before it."""

    tool: str
    arguments: dict[str, object]


Story: TypeAlias = Generator[Call, str, str]


class Model:
    """Goes through a story, one step for each answer that a request brings."""

    def __init__(self, story: Story) -> None:
        self._story = story
        self._lock = threading.Lock()
        self._number = 0
        self._wanted: Call | None = None
        self.closing: str | None = None
        self.failure: Exception | None = None
        self.answers: list[str] = []
        self.offered: list[str] = []
        self.requests: list[str] = []
        self.received: list[tuple[Mapping[str, str], bytes]] = []
        self.searched: list[str] = []

    def next(self, request: dialects.Request) -> tuple[str, Call] | str:
        """What the model says: words, or a call by the full name that the host offers the tool under, with its id."""
        with self._lock:
            if not request.tools:
                return "A title"  # the host asks on the side, for a name of the conversation and such
            self.offered = request.tools
            if self._wanted is None and self.closing is None:
                self._go_on(None)
            elif self._call_id in request.results:
                self._go_on(request.results[self._call_id])
            if self._wanted is not None:
                return self._call(self._wanted, request.tools)
            return self.closing or ""

    def _call(self, wanted: Call, offered: list[str]) -> tuple[str, Call] | str:
        ends = (f"_{wanted.tool}", f".{wanted.tool}")
        found = [name for name in offered if name == wanted.tool or name.endswith(ends)]
        if found:
            return self._call_id, Call(found[0], wanted.arguments)
        if SEARCH in offered and wanted.tool not in self.searched:
            self.searched.append(wanted.tool)
            return f"search_{self._number:04d}", Call(SEARCH, {"query": f"+{wanted.tool}", "max_results": 3})
        self._end(AssertionError(f"the host does not offer {wanted.tool}, only {offered}"))
        return self.closing or ""

    @property
    def _call_id(self) -> str:
        return f"call_{self._number:04d}"

    def _go_on(self, answer: str | None) -> None:
        if answer is not None:
            self.answers.append(answer)
        self._number += 1
        try:
            self._wanted = next(self._story) if answer is None else self._story.send(answer)
        except StopIteration as end:
            self._wanted, self.closing = None, end.value
        except (AssertionError, LookupError, PyroError) as error:
            self._end(error)

    def _end(self, failure: Exception) -> None:
        self._wanted, self.closing, self.failure = None, f"the story broke off: {failure}", failure


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    model: ClassVar[Model]

    def do_POST(self) -> None:
        path = self.path.partition("?")[0]
        content = self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}"
        self.model.received.append(({name.lower(): value for name, value in self.headers.items()}, content))
        body = json.loads(content)
        self.model.requests.append(f"POST {path}")
        dialect = dialects.of(path)
        if dialect is None:
            self._send(404, "application/json", b'{"error": {"type": "not_found_error", "message": "no such thing"}}')
            return
        request = dialect.read(body)
        said = self.model.next(request)
        if isinstance(said, str):
            answer = dialect.words(said)
        else:
            call_id, call = said
            answer = dialect.call(call_id, call.tool, call.arguments)
        self._send(200, dialect.content_type, answer)

    def do_GET(self) -> None:
        self.model.requests.append(f"GET {self.path}")
        self._send(200, "application/json", b'{"data": [], "models": []}')

    def do_HEAD(self) -> None:
        self._send(200, "application/json", b"")

    def _send(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Tests look at `Model.requests`."""


@contextmanager
def served(model: Model, listening: socket.socket) -> Iterator[str]:
    """Serve `model` on a listening socket of any network namespace; yields the base address."""
    handler = type("Handler", (_Handler,), {"model": model})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler, bind_and_activate=False)
    server.socket.close()
    server.socket = listening
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
