"""Files and functions stay small enough to be read at one sitting."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.style.project import ROOT, python_files, shown

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 70
MAX_C_LINES = 1500


def size_faults(path: Path) -> list[str]:
    """Return what is too long in a Python file, one sentence each."""
    text = path.read_text()
    lines = len(text.splitlines())
    faults = [f"{shown(path)} has {lines} lines of {MAX_FILE_LINES}"] if lines > MAX_FILE_LINES else []
    for node in ast.walk(ast.parse(text, path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > MAX_FUNCTION_LINES:
                faults.append(f"{shown(path)}: {node.name} has {lines} lines of {MAX_FUNCTION_LINES}")
    return faults


def test_no_python_file_or_function_is_too_long() -> None:
    faults = [fault for path in python_files() for fault in size_faults(path)]
    assert faults == [], "divide the file or the function by subject; do not raise the limit"


def test_a_long_file_and_a_long_function_are_seen(tmp_path: Path) -> None:
    path = tmp_path / "long.py"
    path.write_text("def long():\n" + "    x = 1\n" * MAX_FILE_LINES)

    assert len(size_faults(path)) == 2


def test_a_function_of_exactly_the_limit_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "fits.py"
    path.write_text("def fits():\n" + "    x = 1\n" * (MAX_FUNCTION_LINES - 1))

    assert size_faults(path) == []


def test_each_source_of_the_guest_is_of_bounded_length() -> None:
    lengths = {path.name: len(path.read_text().splitlines()) for path in (ROOT / "guest").glob("*.[ch]")}

    programs = {"agent.c", "session.c", "tool.c"}
    parts = {"agent_machine.h", "agent_protocol.h", "frames.h", "tool_copy.h", "tool_notes.h", "tree_stream.h"}
    assert lengths.keys() == programs | parts, "name a new source here, in guest/build, and in the Makefile's rule"
    assert max(lengths.values()) <= MAX_C_LINES, f"move a part of {max(lengths, key=lambda name: lengths[name])} out"
