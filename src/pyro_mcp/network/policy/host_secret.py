"""A secret that the gateway inserts into requests to one host, and the checks of its parts."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from pyro_mcp.errors import InvalidRequest

DEFAULT_HEADER = "Authorization"
_LARGEST_VALUE = 8 * 1024  # servers take some 8 KiB for one field
_SHORTEST_PLACEHOLDER = 8  # a shorter one could be in a request by chance
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_PARAMETER = re.compile(r"[A-Za-z0-9._~-]{1,64}")
_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"(?=.{{1,253}}\Z)({_LABEL}\.)+(?=[a-z]){_LABEL}")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")  # a token of RFC 9110
# About the connection or the message itself; or shown by every second host.
_NO_PLACE_FOR_SECRETS = frozenset({
    "accept", "accept-encoding", "connection", "content-encoding", "content-length", "content-type", "expect", "host",
    "if-range", "keep-alive", "origin", "proxy-authorization", "proxy-connection", "range", "referer", "te", "trailer",
    "transfer-encoding", "upgrade", "user-agent", "via",
})  # fmt: skip


@dataclass(frozen=True)
class HostSecret:
    """A secret for one site: the guest gets `placeholder`, and the TLS proxy replaces it by `value` in requests to
    `host`, over HTTPS or to an upstream.

    It does so in one place: the field `header`; or with `basic`, where the guest logs in by Basic with that user name
    and the placeholder as the password; or with `query`, where it is the value of that parameter of the query. `value`
    is one line of printable ASCII, `host` a full name in lower case. A secret for several hosts is one for each, with
    the same placeholder. Raises `InvalidRequest` for anything else; its message never has the value.
    """

    name: str
    placeholder: str
    value: str = field(repr=False)
    host: str
    header: str = DEFAULT_HEADER
    basic: str | None = None
    query: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise InvalidRequest(
                "that cannot name a secret", hint="use letters, digits and '_', not beginning with a digit"
            )
        if not isinstance(self.host, str) or not _HOST.fullmatch(self.host):
            raise InvalidRequest(
                f"the secret {self.name} is for one host, given by its full name",
                hint="for example api.example.com; no address, port or wildcard; international names in their xn-- "
                "form",
            )
        if not _may_hold_secrets(self.header):
            raise InvalidRequest(
                f"the secret {self.name} cannot be for the header field it names",
                hint="for example Authorization, which it is without one, X-Api-Key or Private-Token",
            )
        self._check_place()
        self._check_value()
        if not _fits_a_header(self.placeholder) or " " in self.placeholder or self._says_too_much():
            raise InvalidRequest(
                f"the placeholder of the secret {self.name} cannot stand for it",
                hint=f"use {_SHORTEST_PLACEHOLDER} or more printable ASCII characters without a space, not the value",
            )

    @property
    def in_header(self) -> bool:
        """Whether its place is the field `header`."""
        return self.basic is None and self.query is None

    def _check_place(self) -> None:
        if (self.header != DEFAULT_HEADER) + (self.basic is not None) + (self.query is not None) > 1:
            raise InvalidRequest(
                f"the secret {self.name} has more than one place in a request",
                hint="give only one: a header field, a user name for Basic, or a parameter of the query",
            )
        if self.basic is not None and not (_fits_a_header(self.basic) and ":" not in self.basic):
            raise InvalidRequest(
                f"the user name of the secret {self.name} is not valid",
                hint="a user name for Basic is printable ASCII without a colon; it may be empty",
            )
        if self.query is not None and not (isinstance(self.query, str) and _PARAMETER.fullmatch(self.query)):
            raise InvalidRequest(
                f"the parameter of the secret {self.name} is not valid",
                hint="use letters, digits and . _ ~ -, for example api_key",
            )

    def _check_value(self) -> None:
        if self.value == "":
            raise InvalidRequest(f"the value of the secret {self.name} is empty")
        if not _fits_a_header(self.value):
            raise InvalidRequest(
                f"the value of the secret {self.name} cannot stand in an HTTP header: it is one line of printable "
                "ASCII there",
                hint="leave out its host, or encode it",
            )
        if len(self.value) > _LARGEST_VALUE:
            raise InvalidRequest(
                f"the value of the secret {self.name} is larger than {_LARGEST_VALUE // 1024} KiB",
                hint="leave out its host: only the values in HTTP headers are so limited",
            )

    def _says_too_much(self) -> bool:
        """Return whether the placeholder is part of the value or holds it, or is too short."""
        same = self.placeholder in self.value or self.value in self.placeholder
        return same or len(self.placeholder) < _SHORTEST_PLACEHOLDER


def _may_hold_secrets(header: object) -> bool:
    return isinstance(header, str) and bool(_HEADER.fullmatch(header)) and header.lower() not in _NO_PLACE_FOR_SECRETS


def _fits_a_header(text: object) -> bool:
    return isinstance(text, str) and text.isascii() and text.isprintable() and text == text.strip()
