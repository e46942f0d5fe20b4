"""The base class of all models, and the types of their fields.

Texts of a manifest reach terminals, files and command lines. So a name has only harmless characters, and a line has
neither control characters nor characters that reorder text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}", re.ASCII)
_PACKAGE = re.compile(
    r"[a-z0-9][a-z0-9+.-]{0,127}(:[a-z0-9][a-z0-9-]{0,31})?(=[A-Za-z0-9][A-Za-z0-9.+:~-]{0,127})?", re.ASCII
)
_LONGEST_LINE = 1024
_LONGEST_TEXT = 128 * 1024  # Linux: MAX_ARG_STRLEN, of a variable or an argument


class Model(BaseModel):
    """A part of a manifest: frozen, without conversions, and without unknown keys."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, hide_input_in_errors=True, use_enum_values=True
    )


def matching(pattern: re.Pattern[str], what: str) -> Callable[[str], str]:
    """Return a validator that raises `ValueError(what)` for a text that `pattern` does not match."""

    def check(text: str) -> str:
        if not pattern.fullmatch(text):
            raise ValueError(what)
        return text

    return check


def one_line(text: str) -> str:
    """Return `text` if it is one line of printable characters; else raise `ValueError`."""
    if not text.strip() or not text.isprintable() or len(text) > _LONGEST_LINE:
        raise ValueError(f"must be one line of 1 to {_LONGEST_LINE} characters, without control characters")
    return text


def in_unicode(text: str) -> str:
    """Return `text` if UTF-8 can encode it; else raise `ValueError`: JSON can hold half of a surrogate pair."""
    if not text.isascii() and any(0xD800 <= ord(one) < 0xE000 for one in text):
        raise ValueError("holds half of a surrogate pair, which is not a character")
    return text


def without_nul(text: str) -> str:
    """Return `text` if the kernel takes it as a variable or an argument; else raise `ValueError`."""
    in_unicode(text)
    if "\0" in text:
        raise ValueError("cannot hold a NUL character")
    if len(text.encode()) >= _LONGEST_TEXT:
        raise ValueError(f"is larger than {_LONGEST_TEXT // 1024} KiB")
    return text


def some(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Return `texts` if it is not empty and repeats nothing; else raise `ValueError`."""
    if not texts:
        raise ValueError("is an empty list, which would allow nothing; add an entry, or leave out the key")
    return not_repeated(texts)


def not_repeated(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Return `texts` if it repeats nothing; else raise `ValueError`."""
    seen: set[str] = set()
    for text in texts:
        if text in seen:
            raise ValueError(f"names {text!r} twice")
        seen.add(text)
    return texts


Name = Annotated[
    str,
    AfterValidator(
        matching(_NAME, "is not a name: use 1 to 64 letters, digits, '.', '_' and '-', the first a letter or digit")
    ),
]
Variable = Annotated[
    str,
    AfterValidator(
        matching(_VARIABLE, "is not the name of a variable: use letters, digits and '_', not beginning with a digit")
    ),
]
Package = Annotated[str, AfterValidator(matching(_PACKAGE, "is not a Debian package: write NAME or NAME=VERSION"))]
Line = Annotated[str, AfterValidator(one_line)]
Text = Annotated[str, AfterValidator(without_nul)]
Prose = Annotated[str, AfterValidator(in_unicode)]

# `strict` would refuse the lists of JSON and TOML where a model has a tuple.
Names = Annotated[tuple[Name, ...], Field(strict=False), AfterValidator(not_repeated)]
Packages = Annotated[tuple[Package, ...], Field(strict=False), AfterValidator(not_repeated)]
Texts = Annotated[tuple[Text, ...], Field(strict=False)]
