"""Split a command line of bash into operators and words, as far as git-guard needs it.

A word keeps what it cannot know before it runs: `text` is None when the word has an unknown variable, and `inner` has
the commands in its substitutions. Bodies of here-documents are read, and belong to the command before them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

Lookup = Callable[[str], "str | None"]
_OPERATORS = ("&&", "||", ";;", "|&", ";", "|", "&", "(", ")", "\n")
_REDIRECTION = re.compile(r"\d*(?:<<<|<<-?|<>|<&|>\||>>|>&|&>>|&>|<|>)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?:\[[^]]*\])?\+?=")
_HERE = re.compile(r"<<-?[ \t]*([\w.-]+|'[^'\n]*'|\"[^\"\n]*\")")
_GLOB = re.compile(r"[*?]|\[.*\]", re.DOTALL)
_BRACES = re.compile(r"\{[^{}]*(?:,|\.\.)[^{}]*\}")
_LONGEST = 100_000


class NotUnderstood(Exception):
    """The text is no command line that this reader can split."""


@dataclass
class Word:
    """A word of a command."""

    text: str | None = ""
    """Its value; None when it is known only when the command runs."""
    inner: list[str] = field(default_factory=list)
    """The commands in its substitutions."""
    bare: bool = True
    """Whether no part of it is quoted."""
    assigns: str = ""
    """The variable that it sets, if it is before a command; "" for none."""
    splits: bool = False
    """Whether bash splits its value at spaces."""
    plain: str = ""
    """Its characters that are not quoted."""

    def add(self, text: str | None, *, splits: bool = False, plain: bool = False) -> None:
        self.text = None if text is None or self.text is None else self.text + text
        self.splits = self.splits or (splits and len((text or "").split()) > 1)
        self.plain += (text or "") if plain or splits else ""

    def values(self) -> list[str | None]:
        """Return the words that the command gets; what bash puts for a pattern or for braces is unknown."""
        if _GLOB.search(self.plain) or _BRACES.search(self.plain):
            return [None]
        return list((self.text or "").split()) if self.splits else [self.text]


@dataclass(frozen=True)
class Operator:
    """A separator of commands."""

    text: str


@dataclass(frozen=True)
class Document:
    """The body of a here-document, or the word of a here-string; `quoted` when nothing in it is expanded."""

    text: str
    quoted: bool = False


Token = Word | Operator | Document


class Reader:
    """One pass over a command line.

    `lookup` returns the value of a variable, or what a substitution such as `$(pwd)` prints; None when it is unknown.
    """

    def __init__(self, text: str, lookup: Lookup) -> None:
        if len(text) > _LONGEST:
            raise NotUnderstood("too long")
        self._text, self._at, self._lookup = text, 0, lookup
        self._documents: list[tuple[str, bool, bool]] = []

    def tokens(self) -> Iterator[Token]:
        """Return the tokens in order. Raises `NotUnderstood`."""
        while self._at < len(self._text):
            char = self._text[self._at]
            if char in " \t\r" or self._text.startswith("\\\n", self._at):
                self._at += 1 if char != "\\" else 2
            elif char == "#":
                self._at = self._end_of_line()
            elif found := _REDIRECTION.match(self._text, self._at):
                yield from self._redirection(found)
            elif operator := next((one for one in _OPERATORS if self._text.startswith(one, self._at)), None):
                self._at += len(operator)
                yield Operator(operator)
                if operator == "\n":
                    yield from self._bodies()
            else:
                yield self._word()
        yield from self._bodies()

    def _redirection(self, found: re.Match[str]) -> Iterator[Token]:
        self._at = found.end()
        while self._text[self._at : self._at + 1] in (" ", "\t"):
            self._at += 1
        if self._text.startswith("(", self._at):  # <(command) and >(command)
            yield Word(None, [self._balanced("(", ")")], bare=False)
            return
        begin = self._at
        target = self._word()
        kind = found.group().lstrip("0123456789")
        if kind in ("<<", "<<-"):
            quoted = self._text[begin : self._at]
            end = re.sub(r"[\"'\\]", "", quoted)
            self._documents.append((end, kind == "<<-", end != quoted))
        elif kind == "<<<":
            yield Document(target.text or "")
        elif target.inner:
            yield Word(None, target.inner, bare=False)

    def _bodies(self) -> Iterator[Token]:
        """Return the bodies of the here-documents that begin at this line."""
        for end, tabs, quoted in self._documents:
            lines = []
            while self._at < len(self._text):
                stop = self._end_of_line()
                line, self._at = self._text[self._at : stop], stop + 1
                if (line.lstrip("\t") if tabs else line) == end:
                    break
                lines.append(line)
            yield Document("\n".join(lines), quoted)
        self._documents = []

    def _end_of_line(self) -> int:
        found = self._text.find("\n", self._at)
        return len(self._text) if found < 0 else found

    def _word(self) -> Word:
        word, begin = Word(), self._at
        if found := _ASSIGNMENT.match(self._text, begin):
            word.assigns = found[1]
        while self._at < len(self._text):
            char = self._text[self._at]
            if char in " \t\r\n;&|()<>" and not (
                char == "(" and self._text[self._at - 1 : self._at] in ("=", "?", "@")
            ):
                break
            if char == "'":
                word.add(self._until("'", self._at + 1))
                word.bare = False
            elif char == '"':
                self._double(word)
            elif char == "\\":
                word.add(self._text[self._at + 1 : self._at + 2].replace("\n", ""))
                word.bare = False
                self._at += 2
            elif char in "$`":
                self._expansion(word, splits=not word.assigns)
            elif char == "(":  # an array: name=(words)
                word.inner.append(self._balanced("(", ")"))
                word.add(None)
            else:
                word.add(char, plain=True)
                self._at += 1
        if self._at == begin:
            raise NotUnderstood(f"at {self._at}")
        return word

    def _until(self, quote: str, begin: int) -> str:
        end = self._text.find(quote, begin)
        if end < 0:
            raise NotUnderstood("a quote is not closed")
        self._at = end + 1
        return self._text[begin:end]

    def _until_unescaped(self, quote: str, begin: int) -> str:
        end = begin
        while self._text[end : end + 1] not in (quote, ""):
            end += 2 if self._text[end] == "\\" else 1
        if end >= len(self._text):
            raise NotUnderstood("a quote is not closed")
        self._at = end + 1
        return self._text[begin:end]

    def _double(self, word: Word) -> None:
        word.bare = False
        self._at += 1
        while (char := self._text[self._at : self._at + 1]) != '"':
            if not char:
                raise NotUnderstood("a quote is not closed")
            if char == "\\" and self._text[self._at + 1 : self._at + 2] in ("$", "`", '"', "\\", "\n"):
                word.add(self._text[self._at + 1].replace("\n", ""))
                self._at += 2
            elif char in "$`":
                self._expansion(word)
            else:
                word.add(char)
                self._at += 1
        self._at += 1

    def _expansion(self, word: Word, *, splits: bool = False) -> None:
        text, at = self._text, self._at
        if text[at] == "`":
            word.inner.append(self._until("`", at + 1))
            word.add(None)
        elif text.startswith("$((", at):
            self._at = at + 1
            self._balanced("(", ")")
            word.add(None)
        elif text.startswith("$(", at):
            self._at = at + 1
            body = self._balanced("(", ")")
            word.inner.append(body)
            word.add(self._lookup(f"$({body.strip()})"), splits=splits)
        elif text.startswith("${", at):
            self._at = at + 1
            name = self._balanced("{", "}")
            word.inner += re.findall(r"\$\((.*)\)", name)
            word.add(self._lookup(name) if _NAME.fullmatch(name) else None, splits=splits)
        elif text.startswith(("$'", '$"'), at):
            self._at = at + 1
            word.bare = False
            if text[at + 1] == '"':
                self._double(word)
            else:
                value = self._until_unescaped("'", at + 2)
                word.add(None if "\\" in value else value)  # escapes are not decoded
        elif found := _NAME.match(text, at + 1):
            self._at = found.end()
            word.add(self._lookup(found.group()), splits=splits)
        else:
            # $@, $1, $? and so on are unknown; a lone $ is itself.
            known = text[at + 1 : at + 2] not in tuple("@*#?$!-0123456789")
            word.add("$" if known else None)
            self._at = at + (1 if known else 2)

    def _balanced(self, opening: str, closing: str) -> str:
        """Return what is between the bracket at this place and the one that closes it."""
        begin, depth, ends = self._at + 1, 0, list[str]()
        while self._at < len(self._text):
            char = self._text[self._at]
            if opening == "(" and (found := _HERE.match(self._text, self._at)):
                ends.append(found[1].strip("'\""))
                self._at = found.end()
                continue
            if char == "\n" and ends:
                self._skip_bodies(ends)
                continue
            if char == "\\":
                self._at += 2
                continue
            if char == "'":
                self._until("'", self._at + 1)
                continue
            if char == '"':
                self._double(Word())
                continue
            depth += (char == opening) - (char == closing)
            self._at += 1
            if depth == 0:
                return self._text[begin : self._at - 1]
        raise NotUnderstood("a bracket is not closed")

    def _skip_bodies(self, ends: list[str]) -> None:
        self._at += 1
        while ends and self._at < len(self._text):
            stop = self._end_of_line()
            if self._text[self._at : stop].lstrip("\t") == ends[0]:
                del ends[0]
            self._at = stop + bool(ends)
