"""The guest's file tool as a black box: compiled, run on folders of this host, its streams read by guest/TREE.md."""

from __future__ import annotations

import re
import struct
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pyro_mcp.guest_protocol.frames import Decoder, Frame, encode, encode_fields

DEADLINE = 20.0
FILE = 0o644
FOLDER = 0o755
TREE = (Path(__file__).parents[2] / "guest" / "TREE.md").read_text()
TYPES = {int(number): name for number, name in re.findall(r"^\| (\d+) \| `([A-Z_]+)`", TREE, re.MULTILINE)}
TAGS = dict(enumerate(re.findall(r"\w+", next(line for line in TREE.splitlines() if line.startswith("| PATH"))), 1))
TYPE_NUMBERS = {name: number for number, name in TYPES.items()}
TAG_NUMBERS = {name: number for number, name in TAGS.items()}
TEXTS = {"PATH", "TARGET", "CAPABILITY"}


@dataclass(frozen=True)
class Message:
    """One frame: its name, its fields by name; a `DATA` has bytes instead."""

    name: str
    fields: dict[str, bytes | int] = field(default_factory=dict)
    data: bytes = b""

    def number(self, tag: str) -> int:
        value = self.fields[tag]
        assert isinstance(value, int)
        return value

    @property
    def path(self) -> bytes:
        path = self.fields["PATH"]
        assert isinstance(path, bytes)
        return path

    def letter(self, tag: str = "KIND") -> str:
        return chr(self.number(tag))


@dataclass(frozen=True)
class Ran:
    """What a run of the tool came to."""

    code: int
    messages: list[Message]
    complaint: str

    def of(self, name: str) -> list[Message]:
        """The frames between which the tool's answer is, after a check that it is complete."""
        assert (self.code, self.complaint) == (0, "")
        *found, end = self.messages
        assert end == Message("END", {"COUNT": sum(message.name == name for message in found)})
        return found

    def refusal(self) -> str:
        """The one line of a failure."""
        assert self.code == 1 and self.complaint.count("\n") == 1
        assert not any(message.name == "END" for message in self.messages)
        return self.complaint.rstrip("\n")


@dataclass(frozen=True)
class Tool:
    """A compiled tool."""

    binary: Path

    def __call__(self, *words: str | bytes | Path, stdin: bytes = b"") -> Ran:
        done = subprocess.run([self.binary, *words], input=stdin, capture_output=True, timeout=DEADLINE, check=False)
        return Ran(done.returncode, messages(done.stdout), done.stderr.decode(errors="surrogateescape"))

    def entries(self, root: Path, *paths: bytes) -> dict[bytes, tuple[str, int, bytes]]:
        """Kind, mode and content (a link's target) of everything at and below the paths, in the order it came."""
        found: dict[bytes, tuple[str, int, bytes]] = {}
        for message in self("walk", "--content", "100000000", root, *paths).of("ENTRY"):
            if message.name == "ENTRY":
                target = message.fields.get("TARGET", b"")
                assert isinstance(target, bytes)
                last = message.path
                assert last not in found
                found[last] = (message.letter(), message.number("MODE"), target)
            elif message.name == "DATA":
                kind, mode, content = found[last]
                found[last] = (kind, mode, content + message.data)
        return found

    def apply(
        self, root: Path, *edits: bytes, replace: bool = False, commit: bytes = encode(TYPE_NUMBERS["COMMIT"])
    ) -> Ran:
        options = ["--replace"] if replace else []
        return self("apply", *options, root, stdin=b"".join(edits) + commit)


def messages(stream: bytes) -> list[Message]:
    """The frames of a stream; those of an incomplete last one are left out."""
    return [_message(frame) for frame in Decoder().feed(stream)]


def _message(frame: Frame) -> Message:
    name = TYPES[frame.type]
    if name == "DATA":
        return Message(name, data=frame.payload)
    fields = [(TAGS[tag], value) for tag, value in frame.fields()]
    found = {tag: value if tag in TEXTS else struct.unpack("<Q", value)[0] for tag, value in fields}
    assert len(found) == len(fields)
    return Message(name, found)


def edit(path: bytes, action: str, data: bytes | None = None, **fields: bytes | int) -> bytes:
    """One edit; `data` is a file's content."""
    pairs: list[tuple[int, bytes | int]] = [(TAG_NUMBERS["PATH"], path), (TAG_NUMBERS["ACTION"], ord(action))]
    if data is not None:
        fields = {"SIZE": len(data), **fields}
    pairs += [(TAG_NUMBERS[tag], value) for tag, value in fields.items()]
    return encode_fields(TYPE_NUMBERS["EDIT"], pairs) + b"".join(pieces(data or b""))


def pieces(data: bytes, size: int = 250_000) -> Iterable[bytes]:
    """A file's content as frames."""
    for at in range(0, len(data), size):
        yield encode(TYPE_NUMBERS["DATA"], data[at : at + size])
