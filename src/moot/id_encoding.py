"""Ids: a prefix that says what it names, and a random number of 63 bits in Crockford's base 32, in lower case."""

from __future__ import annotations

import secrets

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PUBLISHED = ("usr", "agt", "mem", "ten", "spc", "evt", "inv", "dec", "qst", "thr", "sum", "lnk", "tmr", "arc")
PREFIXES = frozenset((*_PUBLISHED, "pat", "key", "con", "ins", "tea", "rul", "ses", "oau", "gra"))


def generate_id() -> int:
    """Return a new random number of 63 bits."""
    return secrets.randbits(63)


def new_id(prefix: str) -> str:
    """Return a new random id with this prefix."""
    return encode_id(generate_id(), prefix)


def encode_id(value: int, prefix: str) -> str:
    """Return the external form of a number. Raises `ValueError` for a negative number or an unknown prefix."""
    if value < 0:
        raise ValueError(f"an id encodes a number that is not negative, and {value} is")
    if prefix not in PREFIXES:
        raise ValueError(f"unknown prefix {prefix!r}; known: {', '.join(sorted(PREFIXES))}")
    digits = ""
    while True:
        value, digit = divmod(value, 32)
        digits = ALPHABET[digit] + digits
        if value == 0:
            return f"{prefix}_{digits}"


def decode_id(text: str, expected_prefix: str) -> int:
    """Return the number in an id with this prefix. Raises `ValueError` when it is not one."""
    if expected_prefix not in PREFIXES:
        raise ValueError(f"unknown prefix {expected_prefix!r}; known: {', '.join(sorted(PREFIXES))}")
    prefix, _, digits = text.partition("_")
    if prefix != expected_prefix or not digits:
        raise ValueError(f"{text!r} is not an id that begins with {expected_prefix}_")
    value = 0
    for digit in digits.lower():
        if digit not in ALPHABET:
            raise ValueError(f"{text!r} has {digit!r}, which is no digit of an id")
        value = value * 32 + ALPHABET.index(digit)
    return value
