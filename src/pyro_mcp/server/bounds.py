"""Results of a size that a model can take: long texts keep their beginning and end, long lists their beginning."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

LONGEST_TEXT = 24 * 1024
"""Characters of one text."""
LONGEST_LIST = 500
LONGEST_RESULT = 96 * 1024
"""Characters of a whole result as JSON."""
_LEAST_TEXT = 256


def shortened(text: str, longest: int = LONGEST_TEXT) -> str:
    """The text, or its first third and last two thirds with a remark between: the end of a log tells most."""
    if len(text) <= longest:
        return text
    head, tail = longest // 3, longest - longest // 3
    return f"{text[:head]}\n[… {len(text) - longest} characters left out …]\n{text[-tail:]}"


def readable(value: Any) -> Any:
    """A JSON value whose texts are all Unicode: a file's name may be any bytes, of which JSON knows nothing."""
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, Mapping):
        return {readable(key): readable(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [readable(one) for one in value]
    return value


def bounded(result: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """The result with nothing too long in it, and whether anything was left out."""
    text, count = LONGEST_TEXT, LONGEST_LIST
    shown = _cut(dict(result), text, count)
    while len(json.dumps(shown)) > LONGEST_RESULT and text > _LEAST_TEXT:
        text, count = text // 2, max(count // 2, 1)
        shown = _cut(dict(result), text, count)
    return shown, shown != result


def _cut(value: Any, text: int, count: int) -> Any:
    if isinstance(value, str):
        return shortened(value, text)
    if isinstance(value, Mapping):
        return {key: _cut(one, text, count) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_cut(one, text, count) for one in value[:count]]
    return value
