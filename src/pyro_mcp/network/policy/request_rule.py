"""The HTTP requests that an entry of an allow list allows, by method and path. All requests are untrusted.

A path is compared in one form, with its percent-encodings decoded. What servers read in different ways is refused:
dot segments, encoded slashes, backslashes, control characters, encodings of a percent sign, and invalid UTF-8.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import unquote_to_bytes

from pyro_mcp.errors import InvalidRequest

_METHOD = re.compile(r"[A-Z][A-Z-]{0,31}", re.ASCII)
_PATTERN = re.compile(r"/[A-Za-z0-9._~!$&'()*+,=:@%/-]*", re.ASCII)
_LONGEST_PATTERN = 1024
_RAW_PATH = re.compile(rb"/[A-Za-z0-9._~!$&'()*+,;=:@%/|\[\]{}^\"<>`-]*")
_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_LONGEST_SHOWN = 200
OVERRIDES = frozenset({
    b"x-http-method-override", b"x-http-method", b"x-method-override",
    b"x-original-url", b"x-rewrite-url", b"x-original-uri", b"x-override-url",
})  # fmt: skip
"""Header fields by which some servers take another method or path than those of the request: see `is_override`."""


def is_override(field: bytes) -> bool:
    """Return whether a header field, in lower case, is in `OVERRIDES`; CGI and WSGI read "_" as "-"."""
    return field.replace(b"_", b"-") in OVERRIDES


class UnclearPath(Exception):
    """A path that servers read in different ways; the message says why."""


@dataclass(frozen=True)
class RequestRule:
    """Requests with one of `methods` and a path that fits one of `paths`; an empty tuple stands for all.

    `*` at the end of a path stands for everything that follows; elsewhere it stands for characters other than "/".
    Raises `InvalidRequest` for a method or a path that no request can have.
    """

    methods: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for method in self.methods:
            if not _METHOD.fullmatch(method) or method == "CONNECT":
                raise InvalidRequest(f"{method!r} is not an HTTP method", hint="write it in capitals, for example GET")
        for path in self.paths:
            self._check_pattern(path)

    def __bool__(self) -> bool:
        """Return whether it limits requests at all."""
        return bool(self.methods or self.paths)

    def allows(self, method: str, path: str) -> bool:
        """Return whether it allows a method and a path; the path has the form of `plain_path`."""
        return (not self.methods or method in self.methods) and (
            not self.paths or any(pattern.fullmatch(path) for pattern in self._patterns)
        )

    def __str__(self) -> str:
        return " ".join([",".join(self.methods) or "any method", " ".join(self.paths)]).rstrip()

    @cached_property
    def _patterns(self) -> list[re.Pattern[str]]:
        return [_compiled(path) for path in self.paths]

    def _check_pattern(self, path: str) -> None:
        hint = "it begins with /; * at its end stands for all that follows, elsewhere for a part without /"
        if not _PATTERN.fullmatch(path) or len(path) > _LONGEST_PATTERN:
            raise InvalidRequest(f"{shown_path(path)!r} is not a path to allow", hint=hint)
        if any(part.count("*") > 1 for part in path.split("/")):  # so that a match takes linear time
            raise InvalidRequest(f"{shown_path(path)!r} has two * in one part", hint=hint)
        try:
            plain_path(path.encode("ascii"))
        except UnclearPath as error:
            raise InvalidRequest(f"{shown_path(path)!r} cannot be allowed: {error}", hint=hint) from None


ANY_REQUEST = RequestRule()


def request_refusal(rules: Sequence[RequestRule], method: str, target: bytes) -> str:
    """Return why no rule allows a request with this method and target; "" when one does."""
    if any(not rule for rule in rules):
        return ""
    try:
        path = plain_path(target.partition(b"?")[0])
    except UnclearPath as error:
        return str(error)
    if any(rule.allows(method, path) for rule in rules):
        return ""
    return f"{method} {shown_path(path)} is not allowed, only {'; '.join(map(str, rules))}"


def plain_path(path: bytes) -> str:
    """Return a request's path with its percent-encodings decoded; raises `UnclearPath`."""
    if not path.startswith(b"/"):
        raise UnclearPath("the request's target is not a path")
    if not _RAW_PATH.fullmatch(path):
        raise UnclearPath("the path holds a character that a path cannot have")
    if _ESCAPE.search(path):
        raise UnclearPath("the path holds a % that encodes nothing")
    decoded = unquote_to_bytes(path)
    if decoded.count(b"/") != path.count(b"/") or b"\\" in decoded:
        raise UnclearPath("the path holds an encoded slash")
    if b"%" in decoded or any(byte < 0x20 or byte == 0x7F for byte in decoded):
        raise UnclearPath("the path holds an encoded % or control character")
    if b"//" in decoded:
        raise UnclearPath("the path holds an empty part")
    # Some servers cut the parameters off a part (";x=1") before they resolve dots.
    if any(part.partition(b";")[0].strip() in (b".", b"..") for part in decoded.split(b"/")):
        raise UnclearPath("the path holds a part . or ..")
    try:
        return decoded.decode("utf-8")
    except UnicodeDecodeError:  # a lax decoder makes a "." of two bytes
        raise UnclearPath("the path is not valid UTF-8") from None


def shown_path(path: str) -> str:
    """Return an untrusted path in a form fit for a log: without its query, printable ASCII, of limited length."""
    return ascii(path.partition("?")[0])[1:-1][:_LONGEST_SHOWN]


def _compiled(pattern: str) -> re.Pattern[str]:
    decoded = plain_path(pattern.encode("ascii"))
    inner, last = (decoded[:-1], ".*") if decoded.endswith("*") else (decoded, "")
    return re.compile("[^/]*".join(map(re.escape, inner.split("*"))) + last, re.DOTALL)
