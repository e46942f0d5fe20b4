from __future__ import annotations

import pytest

from pyro_mcp.errors import GuestFailed, NoSpace, NotFound, PyroError
from pyro_mcp.trees import tool_error


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (b"src/x: No such file or directory\n", NotFound),
        (b"src/x: No space left on device\n", NoSpace),
        (b"src/x: Is a directory\n", GuestFailed),
        (b"\xff\n", GuestFailed),
    ],
)
def test_a_failed_run_of_the_guest_tool_has_an_error_of_its_kind(said: bytes, kind: type[PyroError]) -> None:
    error = tool_error(1, said)

    assert type(error) is kind
    assert said.strip().decode(errors="replace") in error.message


def test_a_full_disk_is_named() -> None:
    assert tool_error(1, b"x: No space left on device", disk="the machine's disk").message.startswith(
        "the machine's disk is full: "
    )


def test_a_tool_that_wrote_nothing_is_named_with_its_exit_code() -> None:
    assert tool_error(137, b"").message == "the file tool ended with 137"
