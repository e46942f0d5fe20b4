"""What a shell completes after `claude-bottle`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = "claude-bottle"


def completed(line: str, folder: Path) -> set[str]:
    """Return what bash offers for the end of `line` in a folder, by the code that `completion` prints for it."""
    words = line.split(" ")
    inside = (
        f"source <({PROGRAM} completion bash); COMP_WORDS=({' '.join(words)} ''); COMP_CWORD={len(words) - 1}; "
        f"COMP_TYPE=9; COMP_LINE='{line}'; COMP_POINT={len(line)}; "
        f"_python_argcomplete {PROGRAM}; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    )
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    told = subprocess.run(
        ["bash", "-c", inside],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PATH": path},
        cwd=folder,
    )
    return set(told.stdout.split())


def test_a_shell_completes_verbs_and_agents(project: Path) -> None:
    (project / "bottles.toml").write_text('[bottles.dev]\n[agents.reviewer]\nbottle = "dev"\n')

    assert {"check", "completion"} <= completed(f"{PROGRAM} c", project)
    assert completed(f"{PROGRAM} plan r", project) == {"reviewer"}


def test_a_wrong_manifest_completes_nothing_and_says_nothing(project: Path) -> None:
    (project / "bottles.toml").write_text("[bottles")

    assert completed(f"{PROGRAM} plan r", project) == set()
