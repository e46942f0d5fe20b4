"""What is shown of a terminal's output, hostile output included."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyro_mcp.terminal import plain

WINDOW = 64 * 1024
CPU_SECONDS = 0.6
"""For a window, where a tenth of that is usual: the machine may be slow, but no sequence may cost a screen's size."""


def shown(output: str, columns: int = 20, rows: int = 5) -> str:
    return plain(output.encode(), columns, rows)


@pytest.mark.parametrize(
    ("output", "text"),
    {
        "lines": ("one\r\ntwo\r\n", "one\ntwo"),
        "a line written over": ("10 %\r100 %", "100 %"),
        "a backspace": ("typo\b\b\bext", "text"),
        "colours and a title": ("\033]0;title\007\033[1;38:5:9mred\033[0m", "red"),
        "an erased line": ("old\033[2K\rnew", "new"),
        "an erased end": ("abcdef\033[3D\033[K", "abc"),
        "a cleared screen": ("old\r\nold\033[H\033[2Jnew", "new"),
        "a cleared scrollback": ("1\r\n2\r\n3\r\n4\r\n5\r\n6\033[3J", ""),
        "a long line": ("x" * 45, "x" * 20 + "\n" + "x" * 20 + "\nxxxxx"),
        "a long line without wrapping": ("\033[?7l" + "x" * 45 + "y", "x" * 19 + "y"),
        "a place": ("\033[2;3Hhere", "\n  here"),
        "what has scrolled off": ("1\r\n2\r\n3\r\n4\r\n5\r\n6\r\n7", "1\n2\n3\n4\n5\n6\n7"),
        "a region that scrolls": ("a\r\nb\r\nc\r\nd\033[2;3r\033[3;1H\n", "a\nc\n\nd"),
        "inserted and deleted lines": ("a\r\nb\r\nc\033[2;1H\033[L\033[1;1H\033[M", "\nb\nc"),
        "inserted and deleted characters": ("abcdef\033[1;2H\033[2P\033[@", "a def"),
        "insert mode": ("ad\033[1;2H\033[4hbc", "abcd"),
        "a repeated character": ("-\033[9b", "-" * 10),
        "drawn lines": ("\033(0lqk\033(Blqk", "┌─┐lqk"),
        "tab stops": ("a\tb\033[3g\tc", "a       b" + " " * 10 + "c"),
        "a wide character at the edge": ("x" * 19 + "字", "x" * 19 + "\n字"),
        "half of a wide character": ("字\ba", " a"),
        "marks": ("e\u0301 n\u0303 q\u0301\u0302", "é ñ q\u0301\u0302"),
        "text that runs backwards": ("user\u202egpj.exe", "usergpj.exe"),
        "bytes that are no text": ("a\udcffb".encode("utf-8", "surrogateescape").decode("latin-1"), "aÿb"),
        "the alignment pattern": ("\033#8\033[2;1H\033[J", "E" * 20),
        "the saved cursor": ("\0337there\0338here", "heree"),
        "a reset": ("old\033cnew", "new"),
    }.values(),
    ids=lambda value: repr(value)[:40],
)
def test_output_is_shown_as_a_person_would_see_it(output: str, text: str) -> None:
    assert shown(output) == text


def test_a_full_screen_program_is_its_screen_until_it_ends() -> None:
    drawn = b"$ vi\r\n\033[?1049h\033[Htext\r\n~"
    assert plain(drawn, 20, 5) == "text\n~"
    assert plain(b"\033[2;1H-- INSERT --", 20, 5, before=drawn) == "text\n-- INSERT --"
    assert plain(drawn + b"\033[?1049l$ ", 20, 5) == "$ vi\n$"


@pytest.mark.parametrize(
    "sequence",
    ["\033[?1A", "\033[1;2;3A", f"\033[{'9' * 5000}A", f"\033[{'1;' * 5000}m", "\033[?;;;h", "\033[:::K", "\033[?1049h",
     "\033[", "\033]0;", "\033P", "\033", "\033[!p", "\033[5 q", "\033(", "\033[1$r", "\u009b9999999A", "\033[>1;2c"],
    ids=lambda text: repr(text)[:20],
)  # fmt: skip
def test_a_sequence_that_means_nothing_harms_nothing(sequence: str) -> None:
    assert shown(f"before{sequence}\x18\r\nafter\033[?1049l\r\nend\r\n").endswith("end")


COSTLY = (
    "\033#8", "\033#8\n", "\033#8\033[J", "\033#8\033[999L", "\033[999L", "\033[999M", "\033[L", "\033[9999b", "\033M",
    "\033[S", "\033[T", "\033[J", "\033[1J", "\n", "\t", "\033[999;999Hx\n", "x\r", "字", "e\u0301\u0302\u0303\u0304",
    "\u0301", "\033[@", "\033[9999P", "\033[1;", "\033[", "\033]", "\033P", "9" * 5000, "\033[2;999r\n", "\u009b",
    "\033[?1049h\033#8\033[?1049l",
)  # fmt: skip


@pytest.mark.parametrize("columns", [1, 1000])
@pytest.mark.parametrize("sequence", COSTLY, ids=lambda text: repr(text)[:20])
def test_no_output_costs_more_than_its_own_size(sequence: str, columns: int) -> None:
    output = (sequence.encode() * WINDOW)[:WINDOW]
    started = time.process_time()
    text = plain(b"\033#8" + output, columns, 1000)
    assert time.process_time() - started < CPU_SECONDS
    assert len(text) < 4 * 1024 * 1024


PIECE = st.sampled_from([*COSTLY, "abc", "\r", "\033[", "\033[3", ";4", "H", "K", "r", "?", "h", "\b", "\033[4h", "\0"])


@given(st.lists(PIECE | st.text(max_size=8)), st.integers(1, 40), st.integers(1, 20))
def test_any_output_is_shown_within_the_screen(pieces: list[str], columns: int, rows: int) -> None:
    text = plain("".join(pieces).encode(errors="replace"), columns, rows)
    assert all(len(line) <= columns * 8 for line in text.split("\n"))
    assert not any(one < " " or "\x7f" <= one < "\xa0" or "\ud800" <= one < "\ue000" for one in text if one != "\n")


@given(st.binary(max_size=200), st.binary(max_size=50), st.integers(1, 5), st.integers(1, 5))
def test_any_bytes_are_shown(output: bytes, before: bytes, columns: int, rows: int) -> None:
    assert isinstance(plain(output, columns, rows, before), str)
