"""What bash does with a command line, as far as git-guard needs it: where each command runs, and with what variables.

It follows `cd`, variables, subshells, aliases, `bash -c` and programs that start others, and hands each git command to
a check. A place or a value that cannot be known is None.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from git_facts import top_level
from shell_words import Document, NotUnderstood, Operator, Reader, Word
from started_programs import STARTERS, git_among, read_start

Places = frozenset[str | None]
"""The folders in which a command may run; None for one that cannot be known."""
Words = list[str | None]
Variables = dict[str, str | None]
_IN_THIS_SHELL = ("command", "builtin", "exec", "time")
"""Programs of `STARTERS` that bash runs itself, so that a `cd` after them stays."""
_DECLARING = ("export", "declare", "local", "readonly", "typeset")
_READING = ("read", "mapfile", "readarray", "getopts", "unset")
_SHELLS = ("sh", "bash", "dash", "zsh", "ksh", "ash")
_OPEN = ("if", "while", "until", "for", "case", "select")
_CLOSE = ("fi", "done", "esac")
_KEYWORDS = (*_OPEN, *_CLOSE, "then", "else", "elif", "do", "in", "{", "}", "!", "coproc", "function")
_MOST_STEPS, _DEEPEST = 2000, 20
_MOST_PLACES = 64


@dataclass
class Shell:
    """What is known of a shell at one point of a command line."""

    git: Callable[[Shell, Words, Variables], None]
    """The check of a git command: its words after `git`, and the variables that it gets beside those of the shell."""
    places: Places
    variables: Variables
    aliases: dict[str, str] = field(default_factory=dict)
    left: Places = frozenset()
    """The folders that it was in before: `cd -` and `popd` lead to one of them."""
    pattern: bool = False
    """Whether the next word is a pattern of `case`."""
    functions: set[str] = field(default_factory=set)
    depth: int = 0
    steps: list[int] = field(default_factory=lambda: [0])

    def run(self, text: str) -> None:
        """Follow a command line. Raises what the check of git raises, and `NotUnderstood`."""
        if self.depth > _DEEPEST:
            raise NotUnderstood("nested too deep")
        self._follow(Reader(text, self._value).tokens())  # word by word: an assignment changes what later words mean

    def inner(self) -> Shell:
        """Return a subshell: what it changes does not come back."""
        return replace(
            self,
            variables=dict(self.variables),
            aliases=dict(self.aliases),
            functions=set(self.functions),
            pattern=False,
            depth=self.depth + 1,
        )

    def _value(self, name: str) -> str | None:
        """Return the value of a variable, or what a substitution prints."""
        place = next(iter(self.places)) if len(self.places) == 1 else None
        if name in ("PWD", "$(pwd)"):
            return place
        if name == "$(git rev-parse --show-toplevel)":
            return None if place is None else top_level(place)
        if name == "$(mktemp -d)":
            return f"{self.variables.get('TMPDIR') or '/tmp'}/tmp.XXXXXXXXXX"
        return self.variables.get(name)

    def _follow(self, tokens: Iterable[Word | Operator | Document]) -> None:
        words: list[Word] = []
        line, begins = list[str](), False
        outside: list[tuple[Places, Places, bool]] = []
        chain, linked, compound, piped, defines = self.places, False, 0, "", False
        for token in _ended(tokens):
            if isinstance(token, Word):
                line, begins = ([], False) if begins else (line, False)
                words.append(token)
                continue
            if isinstance(token, Document):
                self._document([*line, _program(words)], token)
                continue
            if token.text == "(" and len(words) == 1 and words[0].bare and words[0].text:
                self.functions.add(words.pop().text or "")
                defines = True
                continue
            if token.text == ")" and defines:
                defines = False
                continue
            begins = token.text == "\n"
            before = self.places
            compound += self._without_keywords(words)
            if self.pattern and token.text in ("(", "|", ")"):
                self.pattern = token.text != ")"
                words = []
                continue
            self.pattern = token.text == ";;" or (self.pattern and token.text == "\n")
            printed = self._simple(words, piped, maybe=compound > 0)
            piped = printed if token.text in ("|", "|&") else ""
            line.append(_program(words))
            words = []
            if token.text in ("&&", "||"):
                linked = True
                self.places = self.places | chain if token.text == "||" else self.places
            elif token.text == "(":
                outside.append((self.places, chain, linked))
                chain, linked = self.places, False
            elif token.text == ")" and outside:
                self.places, chain, linked = outside.pop()
            else:
                if linked or token.text in ("|", "|&", "&"):
                    self.places = self.places | chain | before
                chain, linked = self.places, False

    def _without_keywords(self, words: list[Word]) -> int:
        """Remove the keywords before a command; return how many compound commands begin, minus those that end."""
        begun = 0
        while words and words[0].bare and words[0].text in _KEYWORDS:
            keyword = words.pop(0).text
            begun += (keyword in _OPEN) - (keyword in _CLOSE)
            if keyword == "function" and words:
                self.functions.add(words.pop(0).text or "")
            if keyword in ("for", "select") and words:
                self.variables[words[0].text or ""] = None
                self._substitutions(words)
                words.clear()
            if keyword == "case":
                self._substitutions(words)
                begin = next((number for number, one in enumerate(words) if one.text == "in"), len(words))
                del words[: begin + 1]
            self.pattern = keyword == "case" or (self.pattern and keyword != "esac")
        return begun

    def _document(self, programs: list[str], document: Document) -> None:
        """Follow a here-document: a script for a shell, or a text whose substitutions run."""
        if any(name in _SHELLS for name in programs):
            self.inner().run(document.text)
        elif not document.quoted:
            for body in re.findall(r"\$\(([^()]*)\)|`([^`]*)`", document.text):
                self.inner().run(body[0] or body[1])

    def _simple(self, words: list[Word], piped: str, *, maybe: bool) -> str:
        """Follow one command; return what it would print, when it only prints."""
        self.steps[0] += 1
        if self.steps[0] > _MOST_STEPS:
            raise NotUnderstood("too long")
        self._substitutions(words)
        local: Variables = {}
        while words and words[0].assigns:
            local[words[0].assigns] = self._assigned(words[0])
            words = words[1:]
        if not words:
            self.variables.update(local)
            return ""
        if words[0].text in _DECLARING:
            self.variables.update({one.assigns: self._assigned(one) for one in words[1:] if one.assigns})
        return self._command([value for word in words for value in word.values()], local, piped, maybe=maybe)

    def _substitutions(self, words: Iterable[Word]) -> None:
        for word in words:
            for text in word.inner:
                self.inner().run(text)

    def _assigned(self, word: Word) -> str | None:
        """Return what a variable gets; None for what is unknown, an element of an array too."""
        name, _, value = (word.text or "").partition("=")
        if word.text is None or "[" in name:
            return None
        if not name.endswith("+"):
            return value
        old = self.variables.get(word.assigns)
        return None if old is None else old + value

    def _command(self, argv: Words, local: Variables, piped: str, *, maybe: bool) -> str:
        """Follow a command that is no keyword; return what it would print, when it only prints."""
        name, args = (argv[0] or "").rpartition("/")[2], argv[1:]
        if argv[0] is None:
            self.git(self, args or [None], local)  # the program may be git
        elif name == "git":
            self.git(self, args, local)
        elif name in ("cd", "pushd", "popd"):
            self._change(_moves(name, args), {**self.variables, **local}, maybe=maybe)
        elif name in self.aliases:
            expansion, self.aliases = self.aliases[name], {}
            self.run(joined([expansion, *(quoted(one) for one in args)]))
        elif name in self.functions:
            self.git(self, [None], local)
        elif name in ("echo", "printf"):
            if name == "printf" and args[:1] == ["-v"]:
                self.variables.update({one: None for one in args[1:2] if one})
                return ""
            return joined([one for one in args if one not in ("-n", "-e", "-ne", "-en", "--")])
        elif name in STARTERS:
            self._started(name, _with_input(args) if name == "xargs" else args, local, piped, maybe=maybe)
        else:
            self._of_the_shell(name, args, local, piped)
        return ""

    def _of_the_shell(self, name: str, args: Words, local: Variables, piped: str) -> None:
        """Follow a command that changes the shell, or that runs others."""
        if name in _READING:
            self.variables.update({one: None for one in args if one})
        elif name == "alias":
            self.aliases.update({one.partition("=")[0]: one.partition("=")[2] for one in args if one})
        elif name == "eval":
            self.run(joined(args))
        elif name in _SHELLS:
            self._shell(args, piped)
        elif name == "su" and "-c" in args[:-1]:
            self.inner().run(args[args.index("-c") + 1] or "git")
        elif name == "find":
            for number, one in enumerate(args[:-1]):
                if one in ("-exec", "-execdir", "-ok", "-okdir"):
                    self._command(_filled(args[number + 1 :]), local, "", maybe=True)
        elif name == "trap" and args:
            self.inner().run(args[0] or "git")
        elif (found := git_among(args)) is not None:
            shell = self.inner()
            shell.places = frozenset({None}) if found[1] else shell.places
            shell.git(shell, found[0], local)

    def _started(self, name: str, args: Words, local: Variables, piped: str, *, maybe: bool) -> None:
        """Follow the command that a program such as `env` or `timeout` starts."""
        start, shell = read_start(name, args), self if name in _IN_THIS_SHELL else self.inner()
        if name == "command" and start.values("v", "V"):
            return  # it only says what the command is
        for folder in start.values("C", "chdir") if name == "env" else start.values("D", "chdir"):
            shell._go(folder, maybe=False)
        if name == "sudo" and start.values("i", "login"):
            shell.places = frozenset({None})
        texts = start.values("S", "split-string") if name == "env" else start.values("c", "command")
        if texts and name in ("env", "flock"):
            shell.run(joined([*texts, *start.command]))
        elif name == "watch":
            shell.run(joined(start.command))
        elif start.command:
            shell._command(start.command, {**local, **start.variables}, piped, maybe=maybe)

    def _shell(self, args: Words, piped: str) -> None:
        """Follow `bash -c TEXT`, and a shell that reads what the command before it prints."""
        flags = [one for one in args if one is not None and one.startswith("-")]
        if any("c" in one.lstrip("-") and not one.startswith("--") for one in flags):
            rest = [one for one in args if one is None or not one.startswith("-")]
            if rest and rest[0] is None:
                self.git(self, [None], {})
            self.inner().run(rest[0] or "" if rest else "")
        elif piped and not [one for one in args if one not in flags]:
            self.inner().run(piped)

    def _change(self, args: Words, variables: Variables, *, maybe: bool) -> None:
        """Follow `cd`."""
        targets = [one for one in args if one is None or not one.startswith("-") or one == "-"]
        target = targets[0] if targets else variables.get("HOME")
        search = variables.get("CDPATH", "")
        if target == "-" and self.left:
            self.places, self.left = self.places | self.left, self.places | self.left
            return
        if target == "-" or (search is None and _is_searched(target)):
            target = None
        before, places = self.places, frozenset[str | None]()
        if search and target is not None and _is_searched(target):
            found = (os.path.join(one, target) for one in search.split(":") if one)
            places = frozenset(os.path.normpath(one) for one in found if os.path.isdir(one))
        self._go(target, maybe=maybe)
        # A folder that CDPATH leads to may not be there any more.
        self.places = self.places | places | (before if places else frozenset())

    def _go(self, target: str | None, *, maybe: bool) -> None:
        self.left = self.left | self.places
        if target is None:
            self.places = self.places | {None}
            return
        found = {self.path(place, target) for place in self.places}
        sure = not maybe and all(place is not None and os.path.isdir(place) for place in found)
        places = frozenset(found) if sure else frozenset(found) | self.places
        # Each folder that does not exist doubles the number of places.
        self.places = places if len(places) <= _MOST_PLACES else frozenset({None})

    def path(self, place: str | None, target: str) -> str | None:
        """Return the absolute path of a word in a folder; None for what cannot be known."""
        if target[:2] in ("~+", "~-") or (target[1:2].isdigit() and target[0] == "~"):
            return None  # of the shell's stack of folders
        if target.startswith("~"):
            home = self.variables.get("HOME")
            target = (home or "") + target[1:] if target[1:2] in ("", "/") and home else os.path.expanduser(target)
        if os.path.isabs(target):
            return os.path.normpath(target)
        return None if place is None else os.path.normpath(os.path.join(place, target))


def _moves(name: str, args: Words) -> Words:
    """Return the arguments of `cd`, `pushd` or `popd` as `cd` has them; "-" for what depends on the stack."""
    stack = name != "cd" and not [one for one in args if one is not None and one[:1] not in ("+", "-")]
    return ["-"] if name == "popd" or stack else args


def _is_searched(target: str | None) -> bool:
    """Return whether `cd` looks for a folder in CDPATH."""
    return target is not None and not target.startswith(("/", "~")) and target.split("/")[0] not in (".", "..")


def _program(words: list[Word]) -> str:
    """Return the name of the program that a command starts; "" when there is none, or it is unknown."""
    return (words[0].text or "").rpartition("/")[2] if words else ""


def _ended(tokens: Iterable[Word | Operator | Document]) -> Iterable[Word | Operator | Document]:
    yield from tokens
    yield Operator("\n")


def _filled(words: Words, mark: str = "{}") -> Words:
    """Return words with those that have the mark, which find and xargs fill in, as unknown."""
    return [None if one is not None and mark in one else one for one in words]


def _with_input(words: Words) -> Words:
    """Return the words after xargs, with what it fills in as unknown."""
    for number, one in enumerate(words):
        if one is not None and one.startswith("-I"):
            rest = words[number + 1 :] if one[2:] else words[number + 2 :]
            return _filled(rest, one[2:] or str(words[number + 1] if rest else "{}"))
    return [*words, None]


def quoted(word: str | None) -> str:
    """Return a word as bash writes it; one that is unknown stays so."""
    return '"$@"' if word is None else "'" + word.replace("'", "'\\''") + "'"


def joined(words: Words) -> str:
    """Return words as one command line."""
    return " ".join('"$@"' if word is None else word for word in words)
