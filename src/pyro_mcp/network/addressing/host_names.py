"""Host names in canonical form, so that a rule matches every spelling of a name."""

from __future__ import annotations

import re
from collections.abc import Sequence

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
_LONGEST = 253


class BadName(Exception):
    """A text that is not a host name; the message gives the reason, without quoting the text."""


def canonical_name(text: str) -> str:
    """Return `text` in lower case and ASCII, without the final dot.

    Raises `BadName` for what a resolver could interpret otherwise: numbers, loopback names, other characters.
    """
    name = text.removesuffix(".").lower() if text.isascii() else _ascii(text)
    labels = name.split(".")
    if len(name) > _LONGEST:
        raise BadName("the name is too long")
    if not all(_LABEL.fullmatch(label) for label in labels):
        raise BadName("the name holds an empty or over-long label, or a character that no host name has")
    if _NUMBER.fullmatch(labels[-1]):
        raise BadName("a number is not a name")
    if labels[-1] == "localhost" or name in ("localhost.localdomain", "ip6-localhost", "ip6-loopback"):
        raise BadName("the name stands for the loopback")
    return name


def _ascii(text: str) -> str:
    try:
        return text.removesuffix(".").encode("idna").decode("ascii").lower()
    except UnicodeError:
        raise BadName("the name cannot be written in ASCII") from None


def name_of_labels(labels: Sequence[bytes]) -> str:
    """Return the canonical name of a DNS question; raises `BadName`, also for a dot or a NUL inside a label."""
    if any(b"." in label or not label.isascii() for label in labels):
        raise BadName("the name holds an empty or over-long label, or a character that no host name has")
    return canonical_name(b".".join(labels).decode("ascii"))


def shown_name(text: str) -> str:
    """Return an untrusted name in a form fit for a log: printable ASCII, at most 253 characters."""
    return ascii(text)[1:-1][:_LONGEST]
