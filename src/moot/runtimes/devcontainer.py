"""Agents in the devcontainer of the project: tmux sessions and worktrees in there, made through `docker exec`.

The project's folder is in the container too, so run folders, states and logs are the same files. All agents share the
container; 'moot down' leaves it running, as other tools may use it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from moot.agents.place import HostCommands, HostFiles, PlaceFiles, run_there
from moot.config import main_worktree
from moot.runtimes.container import (
    CLI_HINT,
    DOCKER_HINT,
    Container,
    ContainerCommands,
    ContainerFiles,
    find_container,
    start_container,
)
from moot.runtimes.in_tmux import InTmux
from moot.runtimes.interface import AgentProcess, Kept
from pyro_mcp.errors import HostNotReady, HostToolMissing
from pyro_mcp.host.programs import find_program

_PYTHON = "python3"
_NEEDS = ("git", "tmux", _PYTHON)


class DevcontainerRuntime(InTmux):
    """Agents in the devcontainer of a project; without a running container there are none."""

    name = "devcontainer"

    def __init__(self, project: Path) -> None:
        self._container: Container | None = None
        self._variables: dict[str, str] = {}
        found = None
        with suppress(HostToolMissing):  # `check` and `prepare` say so
            found = find_container(project.resolve())
        self._enter(project.resolve(), found)

    def _enter(self, project: Path, container: Container | None) -> None:
        """Take the paths of a container; without one those that it would have."""
        self._container = container
        top = str(main_worktree(project))
        if container is None:
            self.files: PlaceFiles = HostFiles()
            super().__init__(project, seen=str(project), top=top, commands=HostCommands())
            return
        seen, seen_top = container.seen(str(project)), container.seen(top)
        if seen is None or seen_top is None:
            raise HostNotReady(
                f"the repository {top} is not in the devcontainer",
                hint="set workspaceMount in devcontainer.json to the whole repository",
            )
        commands = ContainerCommands(container)
        self.files = ContainerFiles(commands)
        self.commands = commands
        super().__init__(project, seen=seen, top=seen_top, commands=commands)

    def check(self) -> list[tuple[str, str, str]]:
        hints = {"docker": DOCKER_HINT, "devcontainer": CLI_HINT}
        found = [(name, str(find_program(name) or ""), hint) for name, hint in hints.items()]
        return [(name, path, "" if path else hint) for name, path, hint in found]

    def prepare(self, say: Callable[[str], None]) -> None:
        container = start_container(self.project, say)
        self._enter(self.project, container)
        missing = [name for name in _NEEDS if not self.has_program(name)]
        if missing:
            raise HostNotReady(
                f"the devcontainer has no {', '.join(missing)}",
                hint="install it in .devcontainer/post-create.sh, then rebuild the container",
            )
        words = [_PYTHON, "-P", "-c", "import moot.agents.pane_process"]
        if run_there(self.commands, words, check=False).exit_code != 0:
            raise HostNotReady(
                f"{_PYTHON} of the devcontainer cannot import moot",
                hint="install it in .devcontainer/post-create.sh: pip install 'pyro-mcp[moot]'",
            )
        self._run_folder()
        if run_there(self.commands, ["test", "-w", f"{self.seen}/.moot/run"], check=False).exit_code != 0:
            raise HostNotReady(
                f"{container.user} of the devcontainer cannot write to {self.seen}/.moot/run",
                hint="set remoteUser in devcontainer.json to a user with your user id; if you are root, to root",
            )

    def has_program(self, name: str) -> bool:
        return run_there(self.commands, ["bash", "-lc", 'command -v -- "$0"', name], check=False).exit_code == 0

    def is_root(self) -> bool:
        return self._container is not None and self._container.user.partition(":")[0] in ("root", "0")

    def home(self) -> str:
        return self._inside().get("HOME", "/")

    def python(self) -> str:
        return _PYTHON

    def environment(self, variables: Mapping[str, str]) -> Mapping[str, str]:
        return {**self._inside(), **variables}

    def _inside(self) -> Mapping[str, str]:
        """Return the environment of a login shell in the container, which has ~/.local/bin in its PATH."""
        if not self._variables and self._container is not None:
            found = run_there(self.commands, ["bash", "-lc", "env -0"]).stdout.decode(errors="replace")
            self._variables = dict(one.split("=", 1) for one in found.split("\0") if "=" in one)
        return self._variables

    def end_processes(self, tree: str, leaders: Sequence[int]) -> None:
        words = [_PYTHON, "-P", "-m", "moot.agents.processes", tree, *(str(one) for one in leaders)]
        run_there(self.commands, words, deadline_seconds=60)

    def remove_socket(self, name: str) -> None:
        run_there(self.commands, [_PYTHON, "-P", "-m", "moot.agents.tmux_socket", name], deadline_seconds=60)

    def agents(self) -> dict[str, AgentProcess]:
        return super().agents() if self._container is not None else {}

    def stop(self, role: str) -> bool:
        return super().stop(role) if self._container is not None else False

    def close(self, roles: Sequence[str]) -> list[Kept]:
        if self._container is None:
            return []
        return [*super().close(roles), Kept("container", self._container.id[:12])]
