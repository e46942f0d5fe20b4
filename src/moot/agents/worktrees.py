"""Worktrees and branches of roles: `.worktrees/ROLE` on branch `ROLE/work`, locked while the agent runs.

For a project in a folder of its repository they are `.worktrees/FOLDER/ROLE` and `FOLDER/ROLE/work`: a repository may
have several projects, with the same roles.

git runs in the place of the agents, because git records absolute paths: those of a container mean nothing on the
host, where the lock keeps `git worktree prune` from removing such a worktree.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from moot.agents.place import Commands, HostCommands, run_there
from pyro_mcp.errors import Conflict, HostNotReady
from pyro_mcp.host.process import Completed

FOLDER = ".worktrees"
"""The folder of the worktrees in the main worktree."""
LOCK_REASON = "an agent of moot works here"
_UNFINISHED = "initializing"  # the reason of the lock with which `git worktree add` begins
_DEADLINE = 120.0


@dataclass(frozen=True)
class Worktree:
    """One worktree that git knows. `lock` is the reason of its lock, None when it is not locked."""

    path: str
    branch: str | None
    lock: str | None


class Worktrees:
    """The worktrees of the roles of one project; `main` is the main worktree of its repository, as the agents see it.

    `project` is the project's folder; without it, the project is the whole repository.
    """

    def __init__(self, main: str, commands: Commands | None = None, *, project: str = "") -> None:
        self.main = main
        self.below_top = os.path.relpath(os.path.realpath(project or main), os.path.realpath(main))
        """The project's folder in the main worktree; "." for the main worktree itself."""
        self._prefix = "" if self.below_top == "." else f"{self.below_top}/"
        self._commands = commands or HostCommands()

    def path(self, role: str) -> str:
        """Return where the worktree of a role is, or would be."""
        return f"{self.main}/{FOLDER}/{self._prefix}{role}"

    def branch(self, role: str) -> str:
        """Return the branch of a role."""
        return f"{self._prefix}{role}/work"

    def of_roles(self) -> list[Worktree]:
        """Return the worktrees of the project's roles that git knows, also of roles that it had earlier."""
        return [one for one in self.listed() if one.path == self.path(os.path.basename(one.path))]

    def listed(self) -> list[Worktree]:
        """Return the worktrees that git knows, the main one first."""
        return _parsed(self._git("worktree", "list", "--porcelain", "-z").stdout)

    def find(self, role: str) -> Worktree | None:
        """Return the worktree of a role that git knows; None for none."""
        return next((one for one in self.listed() if one.path == self.path(role)), None)

    def make(self, role: str) -> str:
        """Make the worktree of a role if there is none, lock it, and return its path; work that is there stays.

        What an earlier attempt left unfinished is made anew, and locks that a killed git left there are removed. After
        the repository was moved, git is told where the worktree is now.
        Raises `Conflict` when something else is in its place, `HostNotReady` in a repository without a commit.
        """
        found = self.find(role)
        if found is None and self._is_astray(self.path(role)):
            self._git("worktree", "repair", self.path(role), check=False)
            found = self.find(role)
        if found is not None and found.lock == _UNFINISHED:
            self._git("worktree", "remove", "--force", "--force", found.path)
            found = None
        if found is not None and not self._exists(f"{found.path}/.git"):
            self._git("worktree", "unlock", found.path, check=False)
            self._git("worktree", "prune")
            found = None
        if found is None:
            self._add(role)
        else:
            self._remove_stale_locks(found.path)
        self.lock(role)
        return self.path(role)

    def lock(self, role: str) -> None:
        """Lock the worktree of a role, so that nobody prunes or removes it while the agent works there."""
        found = self.find(role)
        if found is not None and found.lock is None:
            self._git("worktree", "lock", "--reason", LOCK_REASON, found.path)

    def unlock(self, role: str) -> bool:
        """Remove our lock from the worktree of a role, never one of the user; return whether there was one."""
        found = self.find(role)
        if found is None or found.lock != LOCK_REASON:
            return False
        self._git("worktree", "unlock", found.path)
        return True

    def unlock_others(self, running: Sequence[str]) -> list[str]:
        """Remove our locks from the worktrees of all roles but `running`; return the paths of those worktrees."""
        kept = {self.path(role) for role in running}
        stale = [one.path for one in self.of_roles() if one.lock == LOCK_REASON and one.path not in kept]
        for path in stale:
            self._git("worktree", "unlock", path)
        return stale

    def _add(self, role: str) -> None:
        path, branch = self.path(role), self.branch(role)
        if self._git("rev-parse", "--verify", "--quiet", "HEAD^{commit}", check=False).exit_code != 0:
            raise HostNotReady(
                f"the repository {self.main} has no commit yet", hint="commit something: git commit --allow-empty"
            )
        known = self._git("show-ref", "--verify", "--quiet", f"refs/heads/{branch}", check=False).exit_code == 0
        words = ["worktree", "add", "--quiet", *([path, branch] if known else ["-b", branch, path, "HEAD"])]
        added = self._git(*words, check=False)
        if added.exit_code != 0:
            said = added.stderr.decode(errors="replace").strip()
            raise Conflict(
                f"git cannot make the worktree of {role}: {said}",
                hint=f"move away what is at {path}, or the worktree that has the branch {branch}",
            )

    def _is_astray(self, path: str) -> bool:
        """Return whether a worktree is there whose repository is not where it was.

        One whose repository is there belongs to that one, as in a copy: `git worktree repair` would take it away.
        """
        return run_there(self._commands, ["sh", "-c", _IS_ASTRAY, "sh", path], check=False).exit_code == 0

    def _exists(self, path: str) -> bool:
        return run_there(self._commands, ["test", "-e", path], check=False).exit_code == 0

    def _remove_stale_locks(self, path: str) -> None:
        """Remove the lock files of a git that was killed in this worktree, where no agent runs now.

        A git that still runs there holds them rightly; so they stay when any process has its folder there.
        """
        folder = self._git_at(path, "rev-parse", "--absolute-git-dir").stdout.decode().strip()
        run_there(self._commands, ["sh", "-c", _REMOVE_LOCKS, "sh", path, folder], deadline_seconds=_DEADLINE)

    def _git(self, *words: str, check: bool = True) -> Completed:
        return self._git_at(self.main, *words, check=check)

    def _git_at(self, folder: str, *words: str, check: bool = True) -> Completed:
        argv = ["git", "-C", folder, *words]
        return run_there(self._commands, argv, deadline_seconds=_DEADLINE, check=check)


_IS_ASTRAY = """
[ -f "$1/.git" ] || exit 1
target=$(sed -n '1s/^gitdir: //p' "$1/.git")
case "$target" in /*) [ ! -e "$target" ] ;; *) exit 1 ;; esac
"""
# Ends without removing anything when a process works in the folder $1 or below it; $2 is its git directory.
_REMOVE_LOCKS = """
ls "$2"/*.lock >/dev/null 2>&1 || exit 0
for entry in /proc/[0-9]*/cwd; do
    case "$(readlink "$entry" 2>/dev/null)/" in "$1"/*) exit 0 ;; esac
done
rm -f -- "$2"/*.lock
"""


def _parsed(output: bytes) -> list[Worktree]:
    """Parse `git worktree list --porcelain -z`: fields end with NUL, worktrees with an empty field."""
    found = []
    for block in output.decode(errors="surrogateescape").split("\0\0"):
        fields = dict(line.partition(" ")[::2] for line in block.split("\0") if line)
        if "worktree" in fields:
            branch = fields.get("branch", "").removeprefix("refs/heads/") or None
            found.append(Worktree(fields["worktree"], branch, fields.get("locked")))
    return found
