"""The program that finds secrets in objects of git; `secret_scan` runs it in a sandbox, because they are untrusted.

It reads the output of `git cat-file --batch` from stdin and prints a line of JSON for each finding, the first of its
kind in an object: the `id` of the object, the `kind`, the number of the `line`, the `fingerprint` of the secret, and
the `digest` of the whole line. It prints `[]` when it stopped before the end because there are too many.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Iterator
from typing import IO

from claude_bottle.gate.secret_rules import Detector, detectors, secrets_in

MOST_FINDINGS = 500
LFS_POINTER = "LFS pointer"
"""The kind of finding for a file that only points to content outside the push."""
# All forms that git-lfs reads; it skips blank characters before them, also those of Unicode.
_POINTER = re.compile(
    rb"(?<![ -~]) *version https?://(?:git-lfs\.github\.com/spec|hawser\.github\.com/spec|git-media\.io/v)/"
)
_LONGEST_POINTER = 1024


def main() -> None:
    known = detectors()
    printed = 0
    for id_, content in _objects(sys.stdin.buffer):
        seen: set[object] = set()
        for found in _findings(content, known):
            if (same := (found["kind"], found["fingerprint"], found["digest"])) in seen:
                continue
            if printed == MOST_FINDINGS:
                sys.stdout.write("[]\n")
                return
            seen.add(same)
            sys.stdout.write(json.dumps({"id": id_, **found}) + "\n")
            printed += 1


def _findings(content: bytes, known: dict[str, Detector]) -> Iterator[dict[str, object]]:
    if len(content) <= _LONGEST_POINTER and _POINTER.search(content):
        whole = content.decode("latin-1")
        yield {"kind": LFS_POINTER, "line": 1, "fingerprint": line_digest(whole)[:16], "digest": line_digest(whole)}
    for number, line in enumerate(_lines(content), 1):
        for kind, value in secrets_in(line, known):
            yield {"kind": kind, "line": number, "fingerprint": line_digest(value)[:16], "digest": line_digest(line)}


def line_digest(line: str) -> str:
    """Return a digest of the content of a line."""
    return hashlib.sha256(line.encode("latin-1", "replace")).hexdigest()


def _objects(source: IO[bytes]) -> Iterator[tuple[str, bytes]]:
    while head := source.readline():
        id_, _, size = head.decode().split(" ")
        yield id_, source.read(int(size))
        source.read(1)


def _lines(content: bytes) -> Iterator[str]:
    """Yield the lines of a file; if it has NUL bytes, as UTF-16 does, also the lines without them."""
    texts = [content, content.replace(b"\0", b"")] if b"\0" in content else [content]
    for text in texts:
        yield from text.decode("latin-1").split("\n")


if __name__ == "__main__":
    main()
