"""Parse the text of a unified diff: its sections, hunks, paths and line ends, and the lines most similar to a hunk.

Git decides whether a patch applies; this module prepares its input and explains its errors.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

_HUNK = re.compile(rb"@@ -(\d+)(?:,(\d+))? \+\d+(?:,(\d+))? @@")
_ESCAPE = re.compile(rb'\\([0-3][0-7]{2}|[abtnvfr"\\])')
_ESCAPES = {b"a": b"\a", b"b": b"\b", b"t": b"\t", b"n": b"\n", b"v": b"\v", b"f": b"\f", b"r": b"\r",
            b'"': b'"', b"\\": b"\\"}  # fmt: skip
_MOVES = (b"rename from ", b"rename to ", b"copy from ", b"copy to ")
_DEV_NULL = b"/dev/null"
_NO_LINE_END = b"\\ "
_PREFIXES = {b"a", b"b", b"c", b"i", b"o", b"w"}
_MAX_LINES = 50_000
_WINDOW = 200
_SHOWN_LINES = 9


@dataclass(frozen=True)
class Hunk:
    """One @@ block. `start` is its first line in the old file; `lines` include their first character and line end."""

    head: bytes
    start: int
    lines: list[bytes]

    def old_lines(self) -> list[bytes]:
        """Return the lines that the hunk expects in the old file, without line ends."""
        return [line[1:].rstrip(b"\r\n") for line in self.lines if line[:1] in b" -"]


@dataclass
class Section:
    """The part of a patch for one file. `names` are as written, with prefixes; `moves` never have prefixes."""

    pieces: list[bytes | Hunk] = field(default_factory=list)
    names: list[bytes] = field(default_factory=list)
    moves: list[bytes] = field(default_factory=list)

    def hunks(self) -> list[Hunk]:
        return [piece for piece in self.pieces if isinstance(piece, Hunk)]

    def paths(self, strip: int) -> set[bytes]:
        """Return the paths of the section: its names without `strip` leading components, where they have so many."""
        split = (name.split(b"/", strip) for name in self.names if name != _DEV_NULL)
        return {*self.moves, *(parts[strip] for parts in split if len(parts) > strip)}


def parse(patch: bytes) -> list[Section]:
    """Return the sections of a patch; text between sections belongs to the section before it."""
    lines = patch.split(b"\n")
    ends = [line + b"\n" for line in (lines[:-1] if not lines[-1] else lines)]
    sections = [Section()]
    at = 0
    while at < len(ends):
        line = ends[at]
        section = sections[-1]
        begins = line.startswith(b"--- ") and at + 1 < len(ends) and ends[at + 1].startswith(b"+++ ")
        if line.startswith(b"diff --git ") or (begins and section.hunks()):
            sections.append(section := Section())
        found = _HUNK.match(line)
        if found and section.names:
            end = _hunk_end(ends, at + 1, int(found[2] or 1), int(found[3] or 1))
            section.pieces.append(Hunk(_with_lf(line), int(found[1]), ends[at + 1 : end]))
            at = end
            continue
        if begins:
            section.names = [_name(line[4:]), _name(ends[at + 1][4:])]
        elif line.startswith(b"diff --git "):
            section.names = _git_names(_with_lf(line)[len(b"diff --git ") :].strip())
        section.moves += [_name(line[len(word) :]) for word in _MOVES if line.startswith(word)]
        section.pieces.append(line)
        at += 1
    return [section for section in sections if section.names]


def prefix_depths(sections: Sequence[Section]) -> tuple[int, int]:
    """Return how many leading components of the names may be prefixes, the likelier number first."""
    names = [[name for name in section.names if name != _DEV_NULL] for section in sections]
    if all(name.split(b"/")[0] in _PREFIXES and b"/" in name for pair in names for name in pair):
        return 1, 0
    return (0, 1) if all(len(set(pair)) == 1 for pair in names) else (1, 0)


def rebuild(sections: Sequence[Section], content_of: Callable[[Section], bytes | None]) -> bytes:
    """Return the patch with the line ends of its hunks adapted to the files that they change.

    A patch with CRLF for a file without CRLF, or the reverse, is assumed to have been converted in transit.
    """
    parts = []
    for section in sections:
        headers_converted = all(piece.endswith(b"\r\n") for piece in section.pieces if isinstance(piece, bytes))
        change = _line_ends(section, content_of(section), headers_converted=headers_converted)
        for piece in section.pieces:
            parts += [_with_lf(piece)] if isinstance(piece, bytes) else [piece.head, *change(piece.lines)]
    return b"".join(parts)


def nearest(hunk: Hunk, content: bytes) -> str:
    """Return the numbered lines of a file that are most similar to what a hunk expects; "" for an empty file."""
    lines = [line.rstrip(b"\r") for line in content.split(b"\n")[:_MAX_LINES]]
    wanted = hunk.old_lines()
    begin = min(max(_most_similar_index(wanted, lines, hunk.start - 1), 0), len(lines) - 1)
    shown = lines[begin : begin + min(max(len(wanted), 3), _SHOWN_LINES)]
    width = len(str(begin + len(shown)))
    return "\n".join(
        f"{number:>{width}}  {line[:200].decode(errors='replace')}"
        for number, line in enumerate(shown, start=begin + 1)
    )


def _most_similar_index(wanted: Sequence[bytes], lines: Sequence[bytes], expected: int) -> int:
    """Return the index at which the wanted lines would begin: by their longest common run, else by one similar line."""
    bare = [line.strip() for line in lines]
    significant = [line.strip() or None for line in wanted]  # empty lines match everywhere
    matcher: difflib.SequenceMatcher[bytes | None] = difflib.SequenceMatcher(None, bare, significant, autojunk=False)
    run = matcher.find_longest_match()
    if run.size:
        return run.a - run.b
    window = range(max(0, expected - _WINDOW), min(len(lines), expected + _WINDOW))
    texts = {at: bare[at].decode(errors="replace") for at in window}
    for index, line in enumerate(significant):
        similar = difflib.get_close_matches((line or b"").decode(errors="replace"), texts.values(), n=1)
        if line and similar:
            return next(at for at, text in texts.items() if text == similar[0]) - index
    return expected


def _hunk_end(lines: Sequence[bytes], at: int, old: int, new: int) -> int:
    """Return the index after the last line of a hunk with `old` old lines and `new` new lines."""
    while at < len(lines) and (old > 0 or new > 0 or lines[at].startswith(b"\\")):
        first = lines[at][:1]
        old -= first in b" -\r\n"
        new -= first in b" +\r\n"
        at += 1
    return at


def _line_ends(
    section: Section, content: bytes | None, *, headers_converted: bool
) -> Callable[[Sequence[bytes]], list[bytes]]:
    """Return the conversion that the lines of a section's hunks need.

    The lines that the hunks expect decide; if they expect none, the headers do.
    """
    ended = [
        line for hunk in section.hunks() for line, after in _with_next(hunk.lines) if not after.startswith(_NO_LINE_END)
    ]
    found = content or b""
    deciding = [line for line in ended if line[:1] in b" -"] or (ended if headers_converted else [])
    if deciding and all(line.endswith(b"\r\n") for line in deciding) and b"\r\n" not in found:
        return _without_cr
    if not any(line.endswith(b"\r\n") for line in ended) and found.count(b"\r\n") == found.count(b"\n") > 0:
        return _with_cr
    return list


def _without_cr(lines: Sequence[bytes]) -> list[bytes]:
    """Return the lines with LF. A CR in a last line without line end is content, unless its marker line has CR too."""
    return [
        line if after.startswith(_NO_LINE_END) and not after.endswith(b"\r\n") else _with_lf(line)
        for line, after in _with_next(lines)
    ]


def _with_cr(lines: Sequence[bytes]) -> list[bytes]:
    """Return the lines with CRLF, except a last line without line end."""
    return [
        line if line.startswith(_NO_LINE_END) or after.startswith(_NO_LINE_END) else line[:-1] + b"\r\n"
        for line, after in _with_next(lines)
    ]


def _with_next(lines: Sequence[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Yield each line with the next one; the last with an empty one."""
    return zip(lines, [*lines[1:], b""], strict=True)


def _with_lf(line: bytes) -> bytes:
    return line[:-2] + b"\n" if line.endswith(b"\r\n") else line


def _name(text: bytes) -> bytes:
    """Return the name in a header line: quoted, or up to a tab."""
    text = _with_lf(text).rstrip(b"\n")
    if text.startswith(b'"') and (end := text.rfind(b'"')) > 0:
        return _unquoted(text[1:end])
    return text.split(b"\t")[0]


def _git_names(text: bytes) -> list[bytes]:
    """Return the two names of a "diff --git" line; unquoted names can be separated only if they are the same."""
    if text.startswith(b'"') or text.endswith(b'"'):
        found = re.fullmatch(rb'("(?:[^"\\]|\\.)*"|\S+) ("(?:[^"\\]|\\.)*"|.+)', text)
        return [_name(found[1]), _name(found[2])] if found else []
    half = len(text) // 2
    one, two = text[:half], text[half + 1 :]
    return [one, two] if text[half : half + 1] == b" " and one.split(b"/")[1:] == two.split(b"/")[1:] else [_DEV_NULL]


def _unquoted(text: bytes) -> bytes:
    return _ESCAPE.sub(lambda found: _ESCAPES.get(found[1]) or bytes([int(found[1], 8)]), text)
