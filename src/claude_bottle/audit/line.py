"""One line of the journal: a JSON object with its number, the hash of the line before it, and its own hash.

    {"n":2,"prev":"…","at":…,"kind":…,"decision":…,"bottle":…,"agent":…,"who":…,"rule":…,"what":{…},"hash":"…"}

`hash` is the SHA-256 of the line up to the comma before `"hash"`. A line is ASCII: every other character, and every
character that acts on a terminal, is escaped. A line has `latest` only if the clock was set back: it is the latest time
of all lines before.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

FIRST_PREVIOUS = "0" * 64
"""The previous hash that the first line names."""

LONGEST_LINE = 128 * 1024
"""The most bytes of a line, newline included; longer content is cut."""

_LONGEST_TEXT = 4096
_LONGEST_WORD = 200
_MOST_WHAT = 32 * 1024
_MOST_VALUES = 256
_DEEPEST = 4
_LARGEST_NUMBER = 2**63
_WORDS = ("kind", "decision", "slug", "bottle", "agent", "who", "rule")

_FORM = re.compile(rb'\{"n":([1-9][0-9]{0,17}),"prev":"([0-9a-f]{64})",[ -~]*,"hash":"([0-9a-f]{64})"\}\n')
_HASH_LENGTH = len(',"hash":"') + 64 + len('"}\n')


@dataclass(frozen=True)
class Link:
    """A line's place in the chain: its number, the previous line's hash, its own hash, and whether that is correct."""

    number: int
    previous: str
    own: str
    intact: bool


@dataclass(frozen=True)
class Entry:
    """One decision about the launched bottle `slug`; `bottle` is its name in the manifest.

    `at` is in seconds since 1970; `who` is "policy", "person NAME", "timeout" and the like.
    """

    number: int
    at: float
    kind: str
    decision: str
    slug: str
    bottle: str
    agent: str
    who: str
    rule: str
    what: Mapping[str, object]


def link_of(line: bytes) -> Link | None:
    """Return the place of a line in the chain; None if it does not have the form of a line."""
    found = _FORM.fullmatch(line)
    if found is None:
        return None
    own = found[3].decode()
    return Link(int(found[1]), found[2].decode(), own, hashlib.sha256(line[:-_HASH_LENGTH]).hexdigest() == own)


def line_of(entry: Entry, previous: str, latest: float) -> tuple[bytes, str]:
    """Return a line and its hash. `latest` is the latest time in the journal so far."""
    fields: dict[str, object] = {
        "n": entry.number,
        "prev": previous,
        "at": round(entry.at, 6),
        "kind": entry.kind,
        "decision": _cut(entry.decision, _LONGEST_WORD),
        "slug": _cut(entry.slug, _LONGEST_WORD),
        "bottle": _cut(entry.bottle, _LONGEST_WORD),
        "agent": _cut(entry.agent, _LONGEST_WORD),
        "who": _cut(entry.who, _LONGEST_WORD),
        "rule": _cut(entry.rule, _LONGEST_TEXT),
        "what": _bounded_mapping(entry.what),
    }
    if latest > entry.at:
        fields["latest"] = round(latest, 6)
    body = _dumped(fields)[:-1].encode("ascii")
    own = hashlib.sha256(body).hexdigest()
    return b'%s,"hash":"%s"}\n' % (body, own.encode()), own


def entry_of(line: bytes) -> tuple[Entry, float] | None:
    """Return the decision of a line and the latest time so far; None for bytes that are no line of a journal."""
    try:
        found = json.loads(line)
        kind, decision, slug, bottle, agent, who, rule = (str(found[name]) for name in _WORDS)
        at, latest, number = float(found["at"]), float(found.get("latest", found["at"])), int(found["n"])
        what = {str(key): value for key, value in found["what"].items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
        return None
    return Entry(number, at, kind, decision, slug, bottle, agent, who, rule, what), max(at, latest)


def _dumped(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _cut(text: str, longest: int) -> str:
    """Return a text of about `longest` characters at most; of a longer one, the start, the length and the hash stay."""
    if len(text) <= longest:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{text[:longest]}… [{len(text)} characters, sha256 {digest}]"


def _bounded_mapping(what: Mapping[str, object]) -> dict[str, object]:
    bounded = _bounded(what, _DEEPEST, iter(range(_MOST_VALUES)))
    text = _dumped(bounded)
    return bounded if isinstance(bounded, dict) and len(text) <= _MOST_WHAT else {"cut": _cut(text, _LONGEST_TEXT)}


def _bounded(value: object, depth: int, left: Iterator[int]) -> object:
    """Return a JSON value with at most `left` values in it; parts that are deeper than `depth` become text."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float) and -_LARGEST_NUMBER < value < _LARGEST_NUMBER:  # neither NaN nor infinite
        return value
    if isinstance(value, Mapping) and depth:
        return {
            _cut(str(key), _LONGEST_WORD): _bounded(item, depth - 1, left)
            for (key, item), _ in zip(value.items(), left, strict=False)
        }
    if isinstance(value, list | tuple) and depth:
        return [_bounded(item, depth - 1, left) for item, _ in zip(value, left, strict=False)]
    return _cut(value if isinstance(value, str) else f"a {type(value).__name__} that is left out", _LONGEST_TEXT)
