"""The types and tags of each protocol are the same in its document, in C and in Python."""

from __future__ import annotations

import re
from enum import IntEnum
from pathlib import Path

import pytest

from pyro_mcp.guest_protocol import frames, tree_stream

GUEST = Path(__file__).parents[2] / "guest"


def of_header(name: str, kind: str) -> dict[str, int]:
    """Return the members of `enum KIND` in a header, without the prefix TAG_."""
    body = re.search(rf"enum {kind} {{(.*?)}};", (GUEST / name).read_text(), re.DOTALL)
    assert body is not None
    found: dict[str, int] = {}
    number = -1
    for member in filter(None, (word.strip() for word in body[1].split(","))):
        label, _, value = (part.strip() for part in member.partition("="))
        number = int(value) if value else number + 1
        found[label.removeprefix("TAG_")] = number
    return found


def types_of_document(name: str) -> dict[str, int]:
    """Return the rows of a document's tables that begin with a number and a name."""
    rows = re.findall(r"^\| (\d+) \| `([A-Z_]+)`", (GUEST / name).read_text(), re.MULTILINE)
    return {label: int(number) for number, label in rows}


def tags_of_document(name: str) -> dict[str, int]:
    """Return the table of a document that has the numbers in one row and the names in another."""
    lines = (GUEST / name).read_text().splitlines()
    at = next(index for index, line in enumerate(lines) if line.startswith("| 1 | 2 |"))
    numbers, labels = (re.findall(r"\w+", lines[index]) for index in (at, at + 2))
    return {label: int(number) for number, label in zip(numbers, labels, strict=True)}


def of_python(enum: type[IntEnum]) -> dict[str, int]:
    return {member.name: member.value for member in enum}


@pytest.mark.parametrize(
    ("document", "header", "types", "tags"),
    [
        ("PROTOCOL.md", "agent_protocol.h", frames.Type, frames.Tag),
        ("TREE.md", "tree_stream.h", tree_stream.Type, tree_stream.Tag),
    ],
)
def test_document_c_and_python_have_the_same_numbers(
    document: str, header: str, types: type[IntEnum], tags: type[IntEnum]
) -> None:
    assert tags_of_document(document) == of_header(header, "tag") == of_python(tags)
    assert types_of_document(document) == of_header(header, "type") == of_python(types)


def test_the_limits_are_the_same_in_c_and_python() -> None:
    text = "".join((GUEST / name).read_text() for name in ("agent_protocol.h", "frames.h"))
    found = dict(re.findall(r"^    (\w+) = ([\w <]+),", text, re.MULTILINE))
    values = {name: eval(value, {}) for name, value in found.items() if "HEADER" not in value}  # noqa: S307
    assert (values["VERSION"], values["PORTS"], values["NONCE_SIZE"]) == (
        frames.VERSION,
        frames.SLOTS,
        frames.NONCE_SIZE,
    )
    assert (values["INPUT_WINDOW"], values["MAX_PAYLOAD"]) == (frames.INPUT_WINDOW, frames.MAX_PAYLOAD)
