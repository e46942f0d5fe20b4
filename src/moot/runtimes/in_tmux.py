"""What runtimes with tmux share: a session for each role, a worktree, and start files; only the place differs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from moot.agents.pane_process import start_text
from moot.agents.place import AgentPlace, Commands, PlaceFiles
from moot.agents.prompt import type_command
from moot.agents.tmux import AGENT_WINDOW, NOTIFY_WINDOW, Pane, Tmux, session_name, socket_name
from moot.agents.worktrees import Worktrees
from moot.bottled.work import HandedBack
from moot.harness import Harness, harness_named
from moot.runtimes.interface import AgentProcess, AgentStart, Kept, Watch
from pyro_mcp.errors import Conflict, InvalidRequest
from pyro_mcp.host.files import private_directory
from pyro_mcp.host.folder_watch import FolderWatch, watch_folder

_WINDOWS = {AGENT_WINDOW: "agent", NOTIFY_WINDOW: "notify"}
_PREFIX = session_name("")
_LOOK_AGAIN = 0.2


class InTmux:
    """Agents in tmux sessions. `project` is the project's folder on this host, `seen` the same as agents see it.

    `top` is the main worktree as agents see it; the project may be a folder in it.
    """

    name: str
    files: PlaceFiles

    def __init__(self, project: Path, *, seen: str, top: str, commands: Commands) -> None:
        self.project, self.seen = project, seen
        self.tmux = Tmux(seen, commands)
        self.worktrees = Worktrees(top, commands, project=seen)

    def is_root(self) -> bool:
        """Return whether agents run as root."""
        raise NotImplementedError

    def home(self) -> str:
        """Return the home of the user that the agents are."""
        raise NotImplementedError

    def python(self) -> str:
        """Return a Python that has this package, where the agents are."""
        raise NotImplementedError

    def environment(self, variables: Mapping[str, str]) -> Mapping[str, str]:
        """Return the whole environment of a program that is started with these variables."""
        raise NotImplementedError

    def end_processes(self, tree: str, leaders: Sequence[int]) -> None:
        """End what is left of an agent's processes after its session."""
        raise NotImplementedError

    def remove_socket(self, name: str) -> None:
        """Remove the socket file of that name of a tmux server that has ended."""
        raise NotImplementedError

    def harness(self, name: str) -> Harness:
        return harness_named(name)

    def label(self, role: str) -> str:
        return session_name(role)

    def place(self, role: str) -> AgentPlace:
        return AgentPlace(
            role=role,
            project=self.seen,
            tree=self.worktrees.path(role),
            run_folder=f"{self.seen}/.moot/run/{role}",
            home=self.home(),
            python=self.python(),
        )

    def make_place(self, role: str) -> AgentPlace:
        self._run_folder(role)
        self.worktrees.make(role)
        return self.place(role)

    def start(self, start: AgentStart) -> None:
        session, tree = session_name(start.role), self.worktrees.path(start.role)
        if self.tmux.pane(session) is not None:
            raise Conflict(f"{start.role} has a session already", hint=f"'moot down {start.role}' ends it")
        programs = {
            AGENT_WINDOW: (start.argv, start.environment),
            NOTIFY_WINDOW: (start.notify, start.notify_environment),
        }
        try:
            for window, (argv, variables) in programs.items():
                if argv:
                    file = self._start_file(start.role, window)
                    text = start_text(argv, self._folder(tree), self.environment(variables))
                    self._write_private(self.project / file, text)
                    first = [self.python(), "-P", "-m", "moot.agents.pane_process", f"{self.seen}/{file}"]
                    self.tmux.start(session, first, folder=tree, window=window, colour=start.colour)
        except BaseException:
            self.stop(start.role)
            raise

    def agents(self) -> dict[str, AgentProcess]:
        panes = [one for one in self.tmux.panes() if one.session.startswith(_PREFIX)]
        notify = {one.session: not one.dead for one in panes if one.window == NOTIFY_WINDOW}
        agents = [one for one in panes if one.window == AGENT_WINDOW]
        return {found.role: found for found in (_process(one, notify.get(one.session)) for one in agents)}

    @contextmanager
    def watch(self, role: str) -> Iterator[Watch]:
        with watch_folder(self._run_folder(role)) as folder:
            yield _Watch(folder)

    def screen(self, role: str) -> str:
        return self.tmux.screen(session_name(role))

    def press(self, role: str, key: str) -> None:
        self.tmux.press(session_name(role), key)

    def type_command(self, role: str, harness: Harness, words: str) -> None:
        type_command(self.tmux, session_name(role), harness, self.project / ".moot/run" / role, words)

    def attach(self, role: str) -> int:
        return self.tmux.attach(session_name(role))

    def detach(self, role: str) -> int:
        return self.tmux.detach(session_name(role))

    def changes(self, role: str, *, hand_back: bool) -> HandedBack:
        branch = self.worktrees.branch(role)
        raise InvalidRequest(
            f"{role} works in a worktree of this host, so its changes are there: {self.worktrees.path(role)}",
            hint=f"'git diff HEAD...{branch}' shows its commits",
        )

    def stop(self, role: str) -> bool:
        session, tree = session_name(role), self.worktrees.path(role)
        leaders = [one.pid for one in self.tmux.panes() if one.session == session and not one.dead]
        ended = self.tmux.kill(session)
        self.end_processes(tree, leaders)
        if not self.tmux.panes():
            self.remove_socket(socket_name(self.seen))
        self.worktrees.unlock(role)
        for name in ("state", *(f"{one}.start" for one in _WINDOWS.values())):
            (self.project / ".moot/run" / role / name).unlink(missing_ok=True)
        return ended

    def close(self, roles: Sequence[str]) -> list[Kept]:
        for path in self.worktrees.unlock_others(roles):
            self.end_processes(path, [])
        known = self.worktrees.of_roles()
        return [Kept("worktree", one.path, one.branch or self.worktrees.branch(Path(one.path).name)) for one in known]

    def _folder(self, tree: str) -> str:
        return os.path.normpath(f"{tree}/{self.worktrees.below_top}")

    def _run_folder(self, role: str = "") -> Path:
        """Make the run folder of a role, or the folder of all of them; return it."""
        private_directory(self.project / ".moot")
        above = private_directory(self.project / ".moot/run")
        return private_directory(above / role) if role else above

    def _start_file(self, role: str, window: int) -> str:
        return f".moot/run/{role}/{_WINDOWS[window]}.start"

    def _write_private(self, path: Path, text: str) -> None:
        path.unlink(missing_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(fd, "w") as file:
            file.write(text)


class _Watch:
    """A watch on a run folder. It returns early, because no event announces a change on the terminal."""

    def __init__(self, folder: FolderWatch) -> None:
        self._folder = folder

    def wait(self, seconds: float) -> None:
        self._folder.wait(min(seconds, _LOOK_AGAIN))


def _process(pane: Pane, notify_alive: bool | None) -> AgentProcess:
    role = pane.session.removeprefix(_PREFIX)
    return AgentProcess(role, not pane.dead, pane.exit_status, notify_alive)
