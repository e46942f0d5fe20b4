"""Edit JSON with comments and trailing commas: one member changes, every other byte of the text stays."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from pyro_mcp.errors import InvalidRequest

_BLANK = re.compile(r"(?:[ \t\r\n\ufeff]+|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
_REST_OF_LINE = re.compile(r"[ \t]*(?://[^\n\r]*|/\*(?:(?!\*/)[^\n\r])*\*/[ \t]*)?(?=[\r\n]|$)")
_DEEPEST = 100


@dataclass(frozen=True)
class Member:
    """One `"key": value`; `start` is the index of its key's opening quote."""

    key: str
    start: int
    value: Node


@dataclass(frozen=True)
class Node:
    """A value, and the part of the text that it occupies. `members` is None unless the value is an object."""

    start: int
    end: int
    value: object
    members: tuple[Member, ...] | None = None

    def member(self, key: str) -> Member | None:
        """Return the member with this key, None for none; of several the last, as other readers of JSON do."""
        return next((one for one in reversed(self.members or ()) if one.key == key), None)


def parse(text: str) -> Node:
    """Return the value of `text`, an empty object for an empty text. Raises `InvalidRequest` with line and column."""
    if not text[_blank(text, 0) :]:
        return Node(len(text), len(text), {}, ())
    node = _value(text, _blank(text, 0), 0)
    after = _blank(text, node.end)
    if after != len(text):
        raise _fault(text, after, "nothing more")
    return node


def with_member(text: str, path: Sequence[str], value: object) -> str:
    """Return `text` with `value` at the keys of `path`; missing objects on the way are made.

    Raises `InvalidRequest` when `text` cannot be parsed, or `path` goes through a value that is not an object.
    """
    node = parse(text)
    if node.start == node.end:
        return text + json.dumps(_nested(path, value), indent=2) + "\n"
    for depth, key in enumerate(path):
        if node.members is None:
            raise InvalidRequest(f"{'.'.join(path[:depth]) or 'the whole'} is not an object", hint="correct the file")
        found = node.member(key)
        if found is None:
            return _inserted(text, node, key, _nested(path[depth + 1 :], value))
        node = found.value
    on_one_line = "\n" not in text[node.start : node.end]
    encoded = json.dumps(value) if on_one_line else _dumped(text, value, _indent_at(text, node.start))
    return text[: node.start] + encoded + text[node.end :]


def without_member(text: str, path: Sequence[str]) -> str:
    """Return `text` without the member at the keys of `path`; unchanged when there is none.

    Raises `InvalidRequest` when `text` cannot be parsed.
    """
    node = parse(text)
    for key in path[:-1]:
        found = node.member(key)
        if found is None:
            return text
        node = found.value
    gone = node.member(path[-1])
    return text if gone is None else _removed(text, node, gone)


def _nested(path: Sequence[str], value: object) -> object:
    for key in reversed(path):
        value = {key: value}
    return value


def _blank(text: str, at: int) -> int:
    """Return the index of the next character that is neither space nor comment."""
    match = _BLANK.match(text, at)
    return match.end() if match else at


def _value(text: str, at: int, depth: int) -> Node:
    if depth > _DEEPEST:
        raise _fault(text, at, f"at most {_DEEPEST} levels")
    if text.startswith("{", at):
        return _object(text, at, depth)
    if text.startswith("[", at):
        return _array(text, at, depth)
    try:
        value, end = json.JSONDecoder().raw_decode(text, at)
    except ValueError as error:
        raise _fault(text, at, "a value") from error
    return Node(at, end, value)


def _object(text: str, start: int, depth: int) -> Node:
    members: list[Member] = []
    at = _blank(text, start + 1)
    while not text.startswith("}", at):
        key = _value(text, at, depth + 1) if text.startswith('"', at) else None
        if key is None:
            raise _fault(text, at, "a key in double quotes, or }")
        colon = _blank(text, key.end)
        if not text.startswith(":", colon):
            raise _fault(text, colon, "a colon")
        value = _value(text, _blank(text, colon + 1), depth + 1)
        members.append(Member(str(key.value), at, value))
        at = _after_item(text, value.end, "}")
    return Node(start, at + 1, {one.key: one.value.value for one in members}, tuple(members))


def _array(text: str, start: int, depth: int) -> Node:
    values = []
    at = _blank(text, start + 1)
    while not text.startswith("]", at):
        item = _value(text, at, depth + 1)
        values.append(item.value)
        at = _after_item(text, item.end, "]")
    return Node(start, at + 1, values)


def _after_item(text: str, end: int, closing: str) -> int:
    """Return the index of the next item or of the closing bracket, after the item that ends at `end`."""
    at = _blank(text, end)
    if text.startswith(",", at):
        return _blank(text, at + 1)
    if text.startswith(closing, at):
        return at
    raise _fault(text, at, f"a comma, or {closing}")


def _fault(text: str, at: int, wanted: str) -> InvalidRequest:
    line, column = text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
    return InvalidRequest(f"line {line}, column {column}: {wanted} was expected", hint="correct the file first")


def _inserted(text: str, node: Node, key: str, value: object) -> str:
    """Return `text` with one more member at the end of an object."""
    members = node.members or ()
    if not members:
        indent = _indent_at(text, node.start)
        inner = indent + _unit(text)
        piece = f"{_newline(text)}{inner}{json.dumps(key)}: {_dumped(text, value, inner)}"
        closing = _newline(text) + indent if not text[node.start + 1 : node.end - 1].strip() else ""
        rest = text[node.start + 1 :].lstrip(" \t\r\n") if closing else text[node.start + 1 :]
        return text[: node.start + 1] + piece + closing + rest
    last = members[-1].value.end
    comma = _blank(text, last)
    has_comma = text.startswith(",", comma)
    if "\n" not in text[node.start : members[0].start]:
        piece = f" {json.dumps(key)}: {json.dumps(value)}"
        at = comma + 1 if has_comma else last
        return text[:at] + ("" if has_comma else ",") + piece + text[at:]
    indent = _indent_at(text, members[0].start)
    piece = f"{_newline(text)}{indent}{json.dumps(key)}: {_dumped(text, value, indent)}"
    if has_comma:
        at = _line_end(text, comma + 1)
        return text[:at] + piece + "," + text[at:]
    at = _line_end(text, last)
    return text[:last] + "," + text[last:at] + piece + text[at:]


def _removed(text: str, node: Node, gone: Member) -> str:
    members = node.members or ()
    start, end = gone.start, gone.value.end
    comma = _blank(text, end)
    if text.startswith(",", comma):
        end = comma + 1
    elif members[-1] is gone and len(members) > 1:
        before = members[-2].value.end
        cut = text.index(",", _blank(text, before))
        text = text[:cut] + text[cut + 1 :]
        start, end = start - 1, end - 1
    line = text.rfind("\n", 0, start) + 1
    own_line = not text[line:start].strip(" \t") and (match := re.compile(r"[ \t]*\r?\n").match(text, end))
    if own_line and match:
        start, end = line, match.end()
    else:
        start = len(text[:start].rstrip(" \t")) if members[0] is not gone else start
    if len(members) == 1 and not (text[node.start + 1 : start] + text[end : text.index("}", end)]).strip():
        return text[: node.start + 1] + text[text.index("}", end) :]
    return text[:start] + text[end:]


def _line_end(text: str, at: int) -> int:
    """Return the end of the line when only a comment follows on it, else `at`."""
    match = _REST_OF_LINE.match(text, at)
    return match.end() if match else at


def _indent_at(text: str, at: int) -> str:
    """Return the white space at the beginning of the line that holds `at`."""
    line = text[text.rfind("\n", 0, at) + 1 : at]
    return line[: len(line) - len(line.lstrip(" \t"))]


def _unit(text: str) -> str:
    """Return one level of the text's indentation."""
    found = re.search(r"\n([ \t]+)\S", text)
    return found.group(1) if found else "  "


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _dumped(text: str, value: object, indent: str) -> str:
    lines = json.dumps(value, indent=_unit(text)).split("\n")
    return (_newline(text) + indent).join(lines)
