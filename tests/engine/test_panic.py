"""The reason of a kernel's panic is read from its machine's log."""

from __future__ import annotations

from pathlib import Path

from pyro_mcp.engine.panic import MACHINE_LOG, panic_in

PANIC = "[  1.2] Kernel panic - not syncing: {}\n[  1.2] CPU: 0 PID: 1\nCall Trace:\n"


def test_the_reason_is_read_among_other_lines(tmp_path: Path) -> None:
    (tmp_path / MACHINE_LOG).write_text("starting\n" + PANIC.format("Out of memory: all of it"))

    assert panic_in(tmp_path) == "Out of memory: all of it"


def test_there_is_none_without_a_log_or_without_a_panic(tmp_path: Path) -> None:
    assert panic_in(tmp_path) == ""
    (tmp_path / MACHINE_LOG).write_text("EXT4-fs error\n")
    assert panic_in(tmp_path) == ""


def test_a_hostile_log_gives_one_short_printable_line(tmp_path: Path) -> None:
    hostile = b"Kernel panic - not syncing: \x1b[31m\xff" + b"x" * 5000
    (tmp_path / MACHINE_LOG).write_bytes(b"\n" * (1 << 20) + hostile + b"\n")
    found = panic_in(tmp_path)

    assert (found[:8], len(found), found.isprintable()) == ("?[31m\ufffdxx", 200, True)
