"""A harness with an agent, as far as the roads of messages see it: a terminal, hooks, a transcript, maybe a channel.

    python -m tests.moot.adapters.fake_agent RUN_FOLDER SEED [--channel | --deaf-channel]

It does what Claude Code does (`moot.adapters`): a typed line or a channel message is a prompt, which goes through the
hook UserPromptSubmit and into the transcript. In a turn it uses tools, some of which ask for permission first; between
them it takes what the hooks offer, and what came over the channel. With `--deaf-channel` it drops channel messages
without a word. The transcripts of all its sessions are what the agent has read.
"""

from __future__ import annotations

import json
import os
import random
import select
import subprocess
import sys
import time
import tty
from html import escape
from pathlib import Path
from typing import Any

from moot.agents.state import IDLE, RUNNING, WAITING, write_state
from moot.mailbox.mailbox import Mailbox
from moot.mailbox.message_block import blocks

RULE, PROMPT = "\u2500" * 60, "\u276f"
_LONGEST_SHOWN = 400


class FakeAgent:
    """One session of the harness."""

    def __init__(self, folder: Path, seed: str, channel: str | None) -> None:
        self.folder = folder
        self.chance = random.Random(f"{seed}-{time.time_ns()}")  # noqa: S311
        self.session = f"s{os.getpid()}-{time.time_ns()}"
        self.transcript = folder / f"transcript-{self.session}.jsonl"
        self.mailbox = Mailbox(folder / "mailbox.db")
        self.typed = b""
        self.prompts: list[str] = []
        self.queued: list[str] = []
        self.asking = False
        self.channel = _channel() if channel else None
        self.deaf = channel == "deaf"
        self.frames = b""

    def run(self) -> None:
        """Work until killed."""
        self.mailbox.begin_session(self.session, self.transcript)
        self.offered()
        self.state(IDLE)
        while True:
            self.draw()
            self.wait(0.2)
            if self.prompts:
                self.turn(self.prompts.pop(0))
            elif self.queued:
                self.turn(self.queued.pop(0))

    def state(self, word: str) -> None:
        write_state(self.folder, word, self.session)

    def turn(self, prompt: str) -> None:
        """Take a prompt, use tools, and go on as long as there are messages."""
        self.state(RUNNING)
        self.take(prompt)
        going = True
        while going:
            for _ in range(self.chance.randrange(4)):
                self.tool()
            self.mailbox.read_transcript(self.transcript)
            going = self.offered()
        self.state(IDLE)

    def take(self, prompt: str) -> None:
        """Do what the hook UserPromptSubmit does, then let the agent read the prompt."""
        self.mailbox.seen_in(prompt)
        self.read("user", prompt)

    def tool(self) -> None:
        if self.chance.random() < 0.3:
            self.state(WAITING)
            self.asking = True
            self.draw()
            self.wait(0.2)
            self.asking = False
            self.state(RUNNING)
        self.wait(self.chance.random() * 0.2)
        self.mailbox.read_transcript(self.transcript)
        self.offered(urgent_only=True)
        while self.queued:
            self.take(self.queued.pop(0))

    def offered(self, *, urgent_only: bool = False) -> bool:
        """Let the agent read what the hook road offers."""
        offer = self.mailbox.claim("hook", urgent_only=urgent_only, most_messages=5)
        if offer is not None:
            self.read("attachment", blocks(offer.messages, offer.token))
        return offer is not None

    def read(self, kind: str, text: str) -> None:
        with self.transcript.open("ab", buffering=0) as file:
            file.write(json.dumps({"type": kind, "content": text}).encode() + b"\n")

    def draw(self) -> None:
        """Show the prompt with what is typed at it, or the question for a permission."""
        typed = self.typed.decode(errors="replace")
        if len(typed) > _LONGEST_SHOWN:  # so that the box fits the terminal
            typed = f"[Pasted text of {len(typed)} characters]"
        middle = "Allow this command? Enter: yes" if self.asking else f"{PROMPT} {typed}"
        os.write(1, f"\x1b[2J\x1b[H{RULE}\r\n{middle}\x1b7\r\n{RULE}\r\n\x1b8".encode())

    def wait(self, seconds: float) -> None:
        """Take what comes from the terminal and the channel for a time; in an idle moment at most until it comes."""
        end = time.monotonic() + seconds
        sources = [0] + ([self.channel.stdout.fileno()] if self.channel and self.channel.stdout else [])
        while (left := end - time.monotonic()) > 0:
            ready, _, _ = select.select(sources, [], [], left)
            for source in ready:
                data = os.read(source, 65536)
                if not data and source == 0:
                    raise SystemExit(0)
                if source == 0:
                    self.keys(data)
                elif data:
                    self.pushed(data)
                else:  # the channel was killed
                    sources.remove(source)
                    self.channel = _channel()
                    assert self.channel.stdout is not None
                    sources.append(self.channel.stdout.fileno())
                    self.frames = b""

    def keys(self, data: bytes) -> None:
        if self.asking or b"\x1b" in data or b"\x03" in data:
            with (self.folder / "violations").open("ab") as file:
                file.write(b"asking: " * self.asking + repr(data).encode() + b"\n")
        self.typed += data
        while b"\r" in self.typed:
            line, _, self.typed = self.typed.partition(b"\r")
            self.prompts += [line.decode(errors="replace")] if line else []
        self.draw()

    def pushed(self, data: bytes) -> None:
        self.frames += data
        *lines, self.frames = self.frames.split(b"\n")
        for line in lines:
            frame = json.loads(line)
            if frame.get("method") == "notifications/claude/channel" and not self.deaf:
                params: dict[str, Any] = frame["params"]
                head = "".join(f' {name}="{escape(value)}"' for name, value in params["meta"].items())
                self.queued.append(f'<channel source="convo-channel"{head}>\n{params["content"]}\n</channel>')


def _channel() -> subprocess.Popen[bytes]:
    """Start the role's channel, and answer its handshake as Claude Code does."""
    words = [sys.executable, "-P", "-m", "moot.adapters.channel_runner"]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdin is not None and process.stdout is not None
    hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "claude-code", "version": "2"}}
    frames = [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
    ]
    process.stdin.write(b"".join(json.dumps(one).encode() + b"\n" for one in frames))
    process.stdin.flush()
    return process


if __name__ == "__main__":
    tty.setraw(0)
    word = sys.argv[3] if len(sys.argv) > 3 else ""
    kind = {"--channel": "open", "--deaf-channel": "deaf"}.get(word)
    FakeAgent(Path(sys.argv[1]), sys.argv[2], kind).run()
