"""Real chat hosts in an empty home, where nothing but loopback can be reached."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pyro_mcp import Pyro
from tests.chat_hosts.offline import Offline, offline
from tests.style.project import ROOT

PROGRAMS = ROOT / "build/hosts/bin"
OLDER = ROOT / "build/hosts/older"
# What the hosts document against traffic of their own. Behind it stands the namespace, which has no way out.
QUIET = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_ERROR_REPORTING": "1",
    "DISABLE_TELEMETRY": "1",
    "OPENCODE_DISABLE_AUTOUPDATE": "1",
    "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
    "OPENCODE_DISABLE_MODELS_FETCH": "1",
}


@dataclass(frozen=True)
class Desk:
    """Where somebody sits who has the three hosts installed, and no network."""

    home: Path
    project: Path
    net: Offline

    def run(self, *command: str, cwd: Path | None = None, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        folder = cwd or self.project
        return subprocess.run(
            self.net.argv(command),
            cwd=folder,
            env={**os.environ, "PWD": str(folder)},  # as a shell would; OpenCode believes it more than the kernel
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def pyro(self, *words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-m", "pyro_mcp.cli", *words, cwd=cwd)


@pytest.fixture
def desk(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    missing = [name for name in ("claude", "codex", "opencode") if not (PROGRAMS / name).exists()]
    assert not missing, f"{missing} are not in {PROGRAMS}; run: make setup-test"
    # The hosts leave files of their own in it.
    (home / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(home / "tmp"))
    for variable in [name for name in os.environ if name.startswith(("ANTHROPIC_", "CLAUDE", "OPENAI_", "OPENCODE_"))]:
        monkeypatch.delenv(variable)
    for variable, value in QUIET.items():
        monkeypatch.setenv(variable, value)
    for variable, name in (("CLAUDE_CONFIG_DIR", "claude"), ("CODEX_HOME", "codex")):
        (home / name).mkdir()
        monkeypatch.setenv(variable, str(home / name))
    monkeypatch.setenv("PATH", str(PROGRAMS), prepend=":")
    project = home / "project"
    project.mkdir()
    with offline() as net:
        yield Desk(home, project, net)


@pytest.fixture
def workplace(desk: Desk, pyro: Pyro) -> Desk:
    """The desk with a Git checkout as its project, and a warm environment."""
    pyro.prepare("debian:12")
    (desk.project / "message.txt").write_text("broken\n")
    (desk.project / "check.sh").write_text("echo it says $(cat message.txt)\ngrep -q fixed message.txt\n")
    for words in (["init", "--quiet"], ["add", "."]):
        subprocess.run(["git", *words], cwd=desk.project, check=True, timeout=60)
    return desk
