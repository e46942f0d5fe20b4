"""Agents on this host, as this user: tmux sessions and git worktrees here."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from moot.agents.place import HostCommands, HostFiles, PlaceFiles
from moot.agents.processes import end_agent_processes, wait_for_starts
from moot.agents.tmux_socket import remove_dead_socket
from moot.config import main_worktree
from moot.runtimes.in_tmux import InTmux
from pyro_mcp.host.programs import find_program

# Variables of the caller that would tell the agent that it is somewhere else: a terminal, a tmux server, a session of
# a harness that runs 'moot up', or the role of the agent that runs it.
_NOT_PASSED_ON = (
    "TERM",
    "COLORTERM",
    "COLUMNS",
    "LINES",
    "CLAUDECODE",
    "CLAUDE_CODE_ENTRYPOINT",
    "CLAUDE_CODE_SSE_PORT",
)
_PREFIXES_NOT_PASSED_ON = ("TMUX", "CONVO_", "GIT_")


class LocalRuntime(InTmux):
    """Agents on this host; they inherit the environment of the caller, as programs of its shell do."""

    name = "local"

    def __init__(self, project: Path) -> None:
        self.files: PlaceFiles = HostFiles()
        super().__init__(project, seen=str(project), top=str(main_worktree(project)), commands=HostCommands())

    def check(self) -> list[tuple[str, str, str]]:
        found = {name: find_program(name) for name in ("tmux", "git")}
        hint = "sudo apt-get install --no-install-recommends {}"
        return [(name, str(path or ""), "" if path else hint.format(name)) for name, path in found.items()]

    def prepare(self, say: Callable[[str], None]) -> None:
        self.tmux.version()

    def has_program(self, name: str) -> bool:
        return shutil.which(name) is not None

    def is_root(self) -> bool:
        return os.geteuid() == 0

    def home(self) -> str:
        return str(Path.home())

    def python(self) -> str:
        return sys.executable

    def environment(self, variables: Mapping[str, str]) -> Mapping[str, str]:
        passed_on = {
            name: value
            for name, value in os.environ.items()
            if name not in _NOT_PASSED_ON and not name.startswith(_PREFIXES_NOT_PASSED_ON)
        }
        return {**passed_on, **variables}

    def stop(self, role: str) -> bool:
        wait_for_starts(str(self._run_folder(role)))
        return super().stop(role)

    def end_processes(self, tree: str, leaders: Sequence[int]) -> None:
        end_agent_processes(tree, leaders)

    def remove_socket(self, name: str) -> None:
        remove_dead_socket(name)
