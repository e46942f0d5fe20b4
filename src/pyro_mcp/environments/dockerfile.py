"""Parse a Dockerfile into instructions with their line numbers, flags and here-documents, and expand variables.

The format is documented at https://docs.docker.com/reference/dockerfile/. Errors name the line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pyro_mcp.errors import InvalidRequest

KEYWORDS = frozenset({
    "ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "MAINTAINER", "ONBUILD",
    "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR",
})  # fmt: skip
_WITH_FLAGS = frozenset({"ADD", "COPY", "FROM", "HEALTHCHECK", "RUN"})
_WITH_HERE_DOCUMENTS = frozenset({"ADD", "COPY", "RUN"})
_DIRECTIVE = re.compile(r"#\s*([A-Za-z]+)\s*=\s*(.*?)\s*")
_FLAG = re.compile(r"--([a-z-]+)(?:=(\S*))?(?:\s+|$)")
_HERE_DOCUMENT = re.compile(r"(?<!<)<<(?!<)(-?)(['\"]?)([A-Za-z_][A-Za-z0-9_.-]*)\2")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MAX_BYTES = 1 << 20
_MAX_LINES = 20_000


@dataclass(frozen=True)
class HereDocument:
    """A here-document. `raw` includes its last line; `expands` is false when its name was quoted."""

    name: str
    content: str
    raw: str
    expands: bool


@dataclass(frozen=True)
class Instruction:
    """One instruction. `line` counts from 1; `json_words` are the arguments of its JSON form, if it has that form."""

    line: int
    keyword: str
    text: str
    flags: Mapping[str, str] = field(default_factory=dict)
    json_words: tuple[str, ...] | None = None
    here_documents: tuple[HereDocument, ...] = ()
    escape: str = "\\"

    def error(self, reason: str, hint: str = "") -> InvalidRequest:
        """Return the error for a fault in this instruction."""
        return InvalidRequest(f"line {self.line}: {self.keyword}: {reason}", hint=hint)

    def summary(self) -> str:
        """Return the instruction on one line, shortened, for progress messages."""
        text = " ".join(self.text.split())
        return f"{self.keyword} {text if len(text) <= 80 else text[:79] + '…'}"

    def expanded_words(self, variables: Mapping[str, str]) -> list[str]:
        """Return the arguments with quotes removed and variables expanded."""
        if self.json_words is not None:
            return [_Expander(self, word, variables, plain=True).text() for word in self.json_words]
        return list(_Expander(self, self.text, variables).words())

    def expand(self, text: str, variables: Mapping[str, str]) -> str:
        """Return `text` with quotes removed and variables expanded, as one word."""
        return _Expander(self, text, variables).text()

    def expand_document(self, document: HereDocument, variables: Mapping[str, str]) -> str:
        """Return the content of a here-document, with variables expanded unless its name was quoted."""
        return _Expander(self, document.content, variables, plain=True).text() if document.expands else document.content

    def assignments(self, variables: Mapping[str, str]) -> dict[str, str]:
        """Return the values by name of `NAME=value …`, or of the old form `NAME value`."""
        words = self.expanded_words(variables)
        if not words or "=" not in words[0]:
            name, _, value = self.text.partition(" ")
            if not value.strip():
                raise self.error("needs NAME=value")
            return {name: self.expand(value.strip(), variables)}
        found = {}
        for word in words:
            name, equals, value = word.partition("=")
            if not equals or not name:
                raise self.error(f"{word!r} is not NAME=value", hint="quote a value that holds spaces")
            found[name] = value
        return found


def parse_dockerfile(text: str) -> list[Instruction]:
    """Return the instructions of a Dockerfile; raises `InvalidRequest` with the number of the faulty line."""
    if len(text) > _MAX_BYTES or text.count("\n") > _MAX_LINES:
        raise InvalidRequest(f"a Dockerfile has at most {_MAX_BYTES >> 20} MiB and {_MAX_LINES} lines")
    return list(_Parser(text).instructions())


class _Parser:
    """Reads a Dockerfile line by line; `_at` is the index of the next line."""

    def __init__(self, text: str) -> None:
        self._lines = text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
        self._at = 0
        self._escape = "\\"

    def instructions(self) -> Iterator[Instruction]:
        self._directives()
        while self._at < len(self._lines):
            line = self._lines[self._at].strip()
            if not line or line.startswith("#"):
                self._at += 1
                continue
            yield self._instruction()

    def _directives(self) -> None:
        while self._at < len(self._lines) and (found := _DIRECTIVE.fullmatch(self._lines[self._at].strip())):
            if found[1].lower() == "escape":
                if found[2] not in ("\\", "`"):
                    raise InvalidRequest(f"line {self._at + 1}: the escape character is \\ or `, not {found[2]!r}")
                self._escape = found[2]
            self._at += 1

    def _instruction(self) -> Instruction:
        number = self._at + 1
        whole = self._logical_line()
        keyword, _, rest = whole.partition(" ")
        keyword, rest = keyword.upper(), rest.strip()
        if keyword not in KEYWORDS:
            raise InvalidRequest(
                f"line {number}: there is no instruction {keyword[:40]!r}",
                hint=f"the instructions are {', '.join(sorted(KEYWORDS))}",
            )
        flags: dict[str, str] = {}
        while keyword in _WITH_FLAGS and (found := _FLAG.match(rest)):
            flags[found[1]] = found[2] or ""
            rest = rest[found.end() :]
        here_documents = tuple(self._here_documents(rest, number)) if keyword in _WITH_HERE_DOCUMENTS else ()
        if not rest:
            raise InvalidRequest(f"line {number}: {keyword} needs arguments")
        return Instruction(number, keyword, rest, flags, _json_words(rest), here_documents, self._escape)

    def _logical_line(self) -> str:
        parts: list[str] = []
        while self._at < len(self._lines):
            line = self._lines[self._at]
            self._at += 1
            if parts and (not line.strip() or line.lstrip().startswith("#")):
                continue
            bare = line.rstrip(" \t")
            if not bare.endswith(self._escape):
                parts.append(line)
                break
            parts.append(bare[:-1])
        return re.sub(r"^(\S+)\s+", r"\1 ", "".join(parts).strip())

    def _here_documents(self, text: str, number: int) -> Iterator[HereDocument]:
        for found in _HERE_DOCUMENT.finditer(text):
            begin = self._at
            while self._at < len(self._lines):
                line = self._lines[self._at]
                self._at += 1
                if (line.lstrip("\t") if found[1] else line) == found[3]:
                    break
            else:
                raise InvalidRequest(f"line {number}: the here-document {found[3]} is not terminated")
            lines = self._lines[begin : self._at - 1]
            content = "".join(f"{line.lstrip(chr(9)) if found[1] else line}\n" for line in lines)
            yield HereDocument(found[3], content, "\n".join(self._lines[begin : self._at]) + "\n", not found[2])


def _json_words(text: str) -> tuple[str, ...] | None:
    if not text.startswith("["):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return tuple(found) if isinstance(found, list) and all(isinstance(word, str) for word in found) else None


class _Expander:
    """Removes quotes and expands variables. With `plain`, quotes are ordinary characters."""

    def __init__(
        self, instruction: Instruction, text: str, variables: Mapping[str, str], *, plain: bool = False
    ) -> None:
        self._instruction = instruction
        self._text = text
        self._variables = variables
        self._plain = plain
        self._at = 0

    def text(self) -> str:
        return "".join(piece for piece, _ in self._pieces())

    def words(self) -> Iterator[str]:
        word: str | None = None
        for piece, is_blank in self._pieces():
            if not is_blank:
                word = (word or "") + piece
            elif word is not None:
                yield word
                word = None
        if word is not None:
            yield word

    def _pieces(self) -> Iterator[tuple[str, bool]]:
        """Yield the expanded text in pieces, each with true when it separates words."""
        quote = ""
        while self._at < len(self._text):
            char = self._text[self._at]
            self._at += 1
            following = self._text[self._at : self._at + 1]
            if char == quote:
                quote = ""
                yield "", False
            elif quote == "'":
                yield char, False
            elif char == self._instruction.escape and following and (not quote or following in f'"${char}'):
                self._at += 1
                yield (char + following if self._plain and following != "$" else following), False
            elif char == "$":
                yield self._variable(), False
            elif char in "'\"" and not quote and not self._plain:
                quote = char
                yield "", False
            else:
                yield char, char.isspace() and not quote
        if quote:
            raise self._instruction.error(f"the quote {quote} is not closed")

    def _variable(self) -> str:
        rest = self._text[self._at :]
        if not rest.startswith("{"):
            found = _NAME.match(rest)
            self._at += found.end() if found else 0
            return self._variables.get(found[0], "") if found else "$"
        end = _closing(rest)
        if end < 0:
            raise self._instruction.error("a ${ is not closed")
        self._at += end + 1
        return self._braced(rest[1:end])

    def _braced(self, inside: str) -> str:
        found = _NAME.match(inside)
        name = found[0] if found else ""
        operator, word = _split_operator(inside[len(name) :])
        if not name or operator is None:
            raise self._instruction.error(
                f"${{{inside}}} is not supported", hint="supported are ${NAME}, ${NAME:-word} and ${NAME:+word}"
            )
        value = self._variables.get(name)
        is_set = bool(value) if operator.startswith(":") else value is not None
        if operator.endswith("-") and not is_set:
            return _Expander(self._instruction, word, self._variables, plain=self._plain).text()
        if operator.endswith("+"):
            return _Expander(self._instruction, word, self._variables, plain=self._plain).text() if is_set else ""
        if operator.endswith("?") and not is_set:
            raise self._instruction.error(f"{name} is not set: {word}")
        return value or ""


def _split_operator(text: str) -> tuple[str | None, str]:
    if not text:
        return "", ""
    for operator in (":-", ":+", ":?", "-", "+", "?"):
        if text.startswith(operator):
            return operator, text[len(operator) :]
    return None, text


def _closing(text: str) -> int:
    """Return the index at which the brace that `text` begins with is closed, or -1."""
    depth = 0
    for at, char in enumerate(text):
        depth += (char == "{") - (char == "}")
        if depth == 0:
            return at
    return -1
