"""Results in a form that a model can read without harm: Unicode only, names on one line, moments with their zone."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

# Fields that hold what a program wrote or a file holds. Every other text is a name or a remark, and fills no line of
# its own.
_CONTENT = frozenset({"stdout", "stderr", "content", "patch", "text_patch", "output"})
# Control characters but tab and line feed, what changes the direction of text, and what no reader sees.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufff9-\ufffb\U000e0000-\U000e0fff]"
)


def readable(value: Any) -> Any:
    """Return a JSON value whose texts are valid Unicode; other bytes, for example of file names, are escaped."""
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, Mapping):
        return {readable(key): readable(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [readable(one) for one in value]
    return value


def sanitize_name(text: str) -> str:
    """Return a name on one line, quoted and escaped if it holds more than printable characters."""
    return text if text.isprintable() else json.dumps(text)


def sanitize_content(text: str) -> str:
    """Return content with its lines, and escapes for characters that act on a terminal or hide from the reader."""
    if _UNSEEN.search(text) is None:
        return text
    return _UNSEEN.sub(_escape, text.replace("\r\n", "\n"))


def sanitize_result(value: Any, field: str = "") -> Any:
    """Return a result with each text as `sanitize_content` or `sanitize_name` returns it."""
    if isinstance(value, str):
        return sanitize_content(value) if field in _CONTENT else sanitize_name(value)
    if isinstance(value, Mapping):
        return {sanitize_name(str(key)): sanitize_result(one, str(key)) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [sanitize_result(one, field) for one in value]
    return value


def structured(value: Any, field: str = "") -> Any:
    """Return a result for programs, without nulls and with moments as ISO 8601 in UTC."""
    if isinstance(value, Mapping):
        return {key: structured(one, str(key)) for key, one in value.items() if one is not None}
    if isinstance(value, list | tuple):
        return [structured(one) for one in value]
    if field.endswith("_at") and isinstance(value, int | float):
        return datetime.fromtimestamp(value, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return value


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
