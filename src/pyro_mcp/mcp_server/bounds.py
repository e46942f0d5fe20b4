"""Results of a size that a model gets whole: long texts keep their beginning and end, long lists their beginning."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

LONGEST_TEXT = 11_000
"""Bytes of a result's whole text: Codex cuts a result in its middle beyond 12,000 bytes, its own heading included."""
MOST_LINES = 1_500
"""Lines of it: OpenCode cuts beyond some 1,900."""
LONGEST_PART = 9_000
"""Bytes of the parts that make a text long (output, content, patch), so that what stands around them has room."""
LONGEST_FIELD = 24 * 1024
"""Characters of one text in a structured result."""
LONGEST_LIST = 500
LONGEST_RESULT = 96 * 1024
"""Characters of a whole structured result as JSON."""
OMISSION = "[… "
"""Begins every remark about what is left out."""
_LEAST_TEXT = 256


def shortened(text: str, longest: int = LONGEST_PART, *, of: int = 0) -> str:
    """Return `text`, or its first third and last two thirds around a remark: the end of a log says most.

    Counts bytes of UTF-8, of which `of` says how many there were before an earlier cut.
    """
    lines = text.count("\n")
    if len(text) <= longest // 4 and lines < MOST_LINES // 4:
        return text
    data = text.encode(errors="replace")
    if len(data) <= longest and lines < MOST_LINES:
        return text
    head, tail = _first(data, longest // 3, MOST_LINES // 3), _last(data, longest - longest // 3, MOST_LINES // 3 * 2)
    left_out = max(of, len(data)) - len(head) - len(tail)
    return f"{head.decode(errors='ignore')}\n{OMISSION}{left_out} bytes left out …]\n{tail.decode(errors='ignore')}"


def beginning(text: str, longest: int = LONGEST_PART) -> tuple[str, int]:
    """Return the first whole lines of `text` that fit, at least a part of one line, and the bytes left out."""
    data = text.encode(errors="replace")
    head = _first(data, longest, MOST_LINES)
    end = head.rfind(b"\n") + 1
    if len(head) < len(data) and end:
        head = head[:end]
    shown = head.decode(errors="ignore")
    return shown, len(data) - len(shown.encode(errors="replace"))


def shared(texts: Sequence[str], longest: int = LONGEST_PART) -> list[int]:
    """Return how many bytes each text may have; long texts share what short ones leave."""
    sizes = [len(one.encode(errors="replace")) for one in texts]
    rooms, left = [0] * len(texts), longest
    for place, number in enumerate(sorted(range(len(texts)), key=lambda one: sizes[one])):
        rooms[number] = min(sizes[number], left // (len(texts) - place))
        left -= rooms[number]
    return rooms


def _first(data: bytes, longest: int, lines: int) -> bytes:
    head = data[:longest]
    return head if head.count(b"\n") <= lines else b"\n".join(head.split(b"\n", lines)[:lines])


def _last(data: bytes, longest: int, lines: int) -> bytes:
    tail = data[-longest:]
    return tail if tail.count(b"\n") <= lines else b"\n".join(tail.rsplit(b"\n", lines)[1:])


def bounded(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the structured result with every text and list shortened to its limit."""
    text, count = LONGEST_FIELD, LONGEST_LIST
    shown: dict[str, Any] = _cut(dict(result), text, count)
    while len(json.dumps(shown)) > LONGEST_RESULT and text > _LEAST_TEXT:
        text, count = text // 2, max(count // 2, 1)
        shown = _cut(dict(result), text, count)
    return shown


def _cut(value: Any, text: int, count: int) -> Any:
    if isinstance(value, str):
        return _cut_text(value, text)
    if isinstance(value, Mapping):
        return {key: _cut(one, text, count) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_cut(one, text, count) for one in value[:count]]
    return value


def _cut_text(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    head, tail = longest // 3, longest - longest // 3
    return f"{text[:head]}\n{OMISSION}{len(text) - longest} characters left out …]\n{text[-tail:]}"
