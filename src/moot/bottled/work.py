"""The work of an agent in a bottle: the tree that it starts with, and the way of its changes back to its branch.

A bottle starts with a clone of the branch ROLE/work, in `.moot/run/ROLE/tree`. What comes back is a diff from there.
`hand_back` makes it a commit, and merges that into the branch in the role's worktree, where other roles find it. What a
guest wrote is hostile: its patch is applied to an index without files, and no hook, filter or setting of the guest
runs. A bottle that ends with changes that nobody has fetched leaves a copy of its tree in `.moot/kept`.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from moot.agents.worktrees import Worktrees
from pyro_mcp.errors import Busy, Conflict, HostCommandFailed, NotFound, PyroError
from pyro_mcp.host.files import private_directory, write_private
from pyro_mcp.host.process import Completed, run

if TYPE_CHECKING:
    from claude_bottle import BottleInfo, Bottles

_GIT_SECONDS = 120.0
_REMOVAL_SECONDS = 600.0
_NO_HOOKS = ("-c", "core.hooksPath=/dev/null", "-c", "commit.gpgSign=false")


@dataclass(frozen=True)
class HandedBack:
    """The changes of a role: `patch` since its start, what the patch leaves out, and the commit if one was made."""

    role: str
    patch: str
    left_out: list[str]
    commit: str = ""


class RoleWork:
    """The work of one role of a project; `worktrees` are those of its repository."""

    def __init__(self, project: Path, role: str, worktrees: Worktrees) -> None:
        self.role, self._worktrees = role, worktrees
        self._moot = project / ".moot"
        self._run = self._moot / "run" / role
        self.tree = self._run / "tree"
        self._facts = self._run / "work.json"
        email = f"{role}@moot.invalid"
        self._person = {
            f"GIT_{who}_{what}": value
            for who in ("AUTHOR", "COMMITTER")
            for what, value in (("NAME", role), ("EMAIL", email))
        }

    def begin(self) -> Path:
        """Make a new clone of the role's branch for a bottle, and return its folder."""
        self._remove_tree()
        branch, main = self._worktrees.branch(self.role), self._worktrees.main
        words = ["clone", "--quiet", "--no-hardlinks", "--single-branch", "--branch", branch, "--", main]
        run(["git", *words, str(self.tree)], deadline_seconds=_GIT_SECONDS)
        self._git(self.tree, "remote", "remove", "origin")
        base = self._git(self.tree, "rev-parse", "HEAD").stdout.decode().strip()
        self._write(base, base, _digest(""))
        return self.tree

    def slugs(self, bottles: Bottles) -> list[str]:
        """Return the bottles of this role."""
        return [one["slug"] for one in self._bottles(bottles)]

    def _bottles(self, bottles: Bottles) -> list[BottleInfo]:
        return [one for one in bottles.list()["bottles"] if one["folder"] == str(self.tree)]

    def changes(self, bottles: Bottles) -> HandedBack:
        """Return what the agent has changed since its start. Raises `NotFound` without a bottle."""
        slugs = self.slugs(bottles)
        if not slugs:
            raise NotFound(f"{self.role} has no bottle", hint=f"'moot exec {self.role}' starts one")
        found = bottles.diff(slugs[-1], binary=True)
        commits = ["commits and other changes in .git"] if found["git_changes"] else []
        return HandedBack(self.role, found["diff"], [*found["not_in_patch"], *commits])

    def hand_back(self, bottles: Bottles) -> HandedBack:
        """Commit what the agent has changed, and merge it into the branch of the role, in its worktree.

        Raises `Conflict` when that changed the same lines meanwhile; the commit is kept then, and named.
        """
        changes = self.changes(bottles)
        base, last, fetched = self._read()
        if fetched == _digest(changes.patch):
            return changes
        commit = self._commit(base, last, changes.patch)
        worktree = Path(self._worktrees.path(self.role))
        merged = self._git(worktree, "merge", "--quiet", "--no-edit", "--no-verify", commit, check=False)
        if merged.exit_code != 0:
            self._git(worktree, "merge", "--abort", check=False)
            self._git(worktree, "update-ref", self._ref, commit)
            said = (merged.stderr or merged.stdout).decode(errors="replace").strip()
            raise Conflict(
                f"the changes of {self.role} do not merge into {self._worktrees.branch(self.role)}: {said}",
                hint=f"they are in the commit {commit[:12]}: run 'git merge {commit[:12]}' in {worktree}",
            )
        self._write(base, commit, _digest(changes.patch))
        return HandedBack(self.role, changes.patch, changes.left_out, commit)

    def end(self, bottles: Bottles) -> bool:
        """Stop the bottles of this role; first keep a copy of each tree with changes that nobody has fetched.

        Returns whether there was one. Raises `Busy` while one is launched, and `Conflict` for a bottle whose tree
        cannot be copied, which is not stopped.
        """
        found = self._bottles(bottles)
        for one in found:
            slug = one["slug"]
            if one["state"] == "launching":
                raise Busy(f"{self.role} is being launched in the bottle {slug}", hint="try again when it runs")
            if one["state"] != "gone":
                self._keep(bottles, slug)
            bottles.stop(slug)
        self._remove_tree()
        return bool(found)

    def _keep(self, bottles: Bottles, slug: str) -> None:
        """Copy the tree of a bottle to the host if nobody has fetched all that is in it."""
        try:
            found = bottles.diff(slug, binary=True)
            known = not found["not_in_patch"] and self._read()[2] == _digest(found["diff"])
            if known and not found["git_changes"]:
                return
            copy = private_directory(self._moot / "kept") / slug
            bottles.export(slug, ".", output=copy, overwrite=True)
            if known and not self._has_other_commits(copy):
                run(["rm", "-rf", "--", copy], deadline_seconds=_REMOVAL_SECONDS)
        except PyroError as error:
            raise Conflict(
                f"the work of {self.role} in the bottle {slug} cannot be saved: {error.message}",
                hint=f"'claude-bottle stop {slug}' removes the bottle without saving its work",
            ) from error

    def _has_other_commits(self, copy: Path) -> bool:
        """Return whether a branch or a stash of a copied tree has something else than what is here already."""
        base, last, _ = self._read()
        here = self._git(Path(self._worktrees.main), "rev-parse", f"{base}^{{tree}}", f"{last}^{{tree}}").stdout.split()
        there = self._git(copy, "for-each-ref", "--format=%(tree)").stdout.split()
        return not set(there) <= set(here)

    @property
    def _ref(self) -> str:
        return f"refs/moot/{self.role}"

    def _commit(self, base: str, last: str, patch: str) -> str:
        """Return a new commit after `last` whose tree is that of `base` with the patch."""
        worktree = Path(self._worktrees.path(self.role))
        with tempfile.TemporaryDirectory(dir=self._run) as scratch:
            index = {"GIT_INDEX_FILE": f"{scratch}/index"}
            self._git(worktree, "read-tree", base, environment=index)
            if patch:
                self._git(worktree, "apply", "--cached", "--whitespace=nowarn", stdin=patch, environment=index)
            tree = self._git(worktree, "write-tree", environment=index).stdout.decode().strip()
        message = f"{self.role}: Hand back work from the bottle\n"
        words = ["commit-tree", tree, "-p", last, "-F", "-"]
        return self._git(worktree, *words, stdin=message).stdout.decode().strip()

    def _read(self) -> tuple[str, str, str]:
        """Return the commit that the bottle began with, the last one handed back, and the digest of its patch."""
        try:
            found = json.loads(self._facts.read_text())
            return str(found["base"]), str(found["last"]), str(found["fetched"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise NotFound(
                f"{self._facts} is missing or damaged, so nobody knows what the bottle began with",
                hint="'claude-bottle diff' and 'claude-bottle export' still show and copy its tree",
            ) from error

    def _write(self, base: str, last: str, fetched: str) -> None:
        self._facts.unlink(missing_ok=True)
        write_private(self._facts, json.dumps({"base": base, "last": last, "fetched": fetched}).encode())

    def _remove_tree(self) -> None:
        run(["rm", "-rf", "--", str(self.tree)], deadline_seconds=_REMOVAL_SECONDS)

    def _git(
        self,
        folder: Path,
        *words: str,
        stdin: str = "",
        environment: dict[str, str] | None = None,
        check: bool = True,
    ) -> Completed:
        argv = ["git", "-C", str(folder), *_NO_HOOKS, *words]
        try:
            return run(
                argv,
                stdin=stdin.encode(errors="surrogateescape"),
                deadline_seconds=_GIT_SECONDS,
                extra_environment={**self._person, **(environment or {})},
                check=check,
            )
        except HostCommandFailed as error:
            raise Conflict(
                f"git cannot {words[0]} the work of {self.role}: {error.message}", hint=error.hint
            ) from error


def kept_work(project: Path) -> list[str]:
    """Return the copies of trees that nobody has fetched."""
    folder = project / ".moot/kept"
    return sorted(str(path) for path in folder.iterdir()) if folder.is_dir() else []


def _digest(patch: str) -> str:
    return hashlib.sha256(patch.encode(errors="surrogateescape")).hexdigest()
