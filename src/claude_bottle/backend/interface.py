"""The protocol of every backend, and the values that it takes and returns.

A launch is a frozen plan, then steps, then a bottle that outlives this process:

    spec ── Backend.plan ──> plan ── Backend.launch ──> Bottle   stop() removes all that the launch made
                                        │
                                        └ provisioning: copies and commands through the bottle's Guest
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol, TypeVar

from pyro_mcp.errors import InvalidRequest

if TYPE_CHECKING:
    from claude_bottle.manifest import Manifest
    from pyro_mcp.results import Diff

Say = Callable[[str], None]
"""Takes one line about the progress of a launch."""
TREE = "/workspace"
"""The agent's working folder in every bottle."""
HOME_SECONDS = 10.0
"""How long a bottle may take to return a file of its home."""


@dataclass(frozen=True)
class BottleSpec:
    """The request of a launch: one agent of a manifest, and whether the folder `user_cwd` is copied in as its tree.

    `args` are additional arguments for the agent's program.
    """

    manifest: Manifest
    agent_name: str
    copy_cwd: bool
    user_cwd: str
    args: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class BottlePlan:
    """Everything that a launch will do; making one has no side effects, and the folders need not exist.

    `slug` names the bottle on this host. `stage_dir` is the host's private folder for what the launch prepares and for
    what `Backend.find` needs later: `claude_bottle.state` makes it before the launch and removes it after the stop.
    `prompt_file` in it has the agent's prompt; it is written between `Backend.plan` and `Backend.launch`. `guest_env`
    has the variables of the agent, secrets as placeholders. `guard` is the socket of the bottle's guard, for its
    gateway.
    """

    spec: BottleSpec
    slug: str
    stage_dir: Path
    prompt_file: Path
    guest_env: Mapping[str, str]
    guard: Path | None = None

    @property
    def has_gateway(self) -> bool:
        """Whether the bottle reaches the network through a gateway, which has a guard."""
        return True


@dataclass(frozen=True)
class Outcome:
    """The result of a command inside a bottle; the guest wrote both outputs, so they are hostile."""

    exit_code: int
    stdout: bytes
    stderr: bytes


@dataclass(frozen=True)
class TreeDiff:
    """What changed in a tree since the launch; `patch` is in the format of `git diff`, and the rest is not in it.

    `not_in_patch` has paths of files that are binary, too large or special. `git_changes` counts paths in `.git`
    folders, `ignored_changes` files that a `.gitignore` names.
    """

    patch: str
    not_in_patch: Sequence[str] = ()
    git_changes: int = 0
    ignored_changes: int = 0

    @classmethod
    def of(cls, found: Diff) -> TreeDiff:
        """Return the same from a comparison of `pyro_mcp.trees`."""
        return cls(found["patch"], tuple(found["left_out"]), found["git_changes"], found["ignored_count"])

    @property
    def changed(self) -> bool:
        """Whether anything at all has changed."""
        return bool(self.patch or self.not_in_patch or self.git_changes or self.ignored_changes)


AnyPlan = TypeVar("AnyPlan", bound=BottlePlan)


def plan_as(kind: type[AnyPlan], plan: BottlePlan) -> AnyPlan:
    """Return the plan if it is of the kind that a backend makes; raise `InvalidRequest` for another's."""
    if not isinstance(plan, kind):
        raise InvalidRequest("the plan was made for another backend")
    return plan


class Steps(Protocol):
    """The steps of provisioning: a `Guest` does each at once, a batch of `claude_bottle.provision.batch` later.

    Paths of the guest are absolute. Everything is done as the guest's root.
    """

    home: str
    """The home of the user that the agent runs as."""

    def copy_in(self, source: str, target: str) -> None:
        """Copy a file or a folder of the host to `target`, which is its new name, and replace a file there."""

    def run(self, argv: Sequence[str], *, stdin: bytes = b"") -> object:
        """Run a program to its end; an exit code other than 0 ends the launch."""


class Guest(Steps, Protocol):
    """The inside of a bottle; both methods raise `BottleFailed`."""

    def run(self, argv: Sequence[str], *, stdin: bytes = b"") -> bytes:
        """Run a program to its end and return its standard output; raises when its exit code is not 0."""


class Inside(Protocol):
    """The two ways to ask a launched bottle about itself. The guest may make both wait until their deadlines."""

    def execute(self, argv: Sequence[str], *, stdin: bytes = b"", deadline_seconds: float = 60.0) -> Outcome:
        """Run a program as the agent's user, in its tree and with its variables; raises `DeadlineExceeded`."""

    def read_home(self, path: str, *, most: int, deadline_seconds: float = HOME_SECONDS) -> bytes | None:
        """Return a regular file of at most `most` bytes below the home of the agent's user; None when there is none.

        It works after the agent has ended too. Raises `BottleFailed` for a larger file, and for anything but a file.
        """


class Bottle(Inside, Protocol):
    """A launched bottle, found again by its slug; its agent may have ended."""

    slug: str
    guest: Guest

    def exit_code(self) -> int | None:
        """Return the exit code of the agent, 128+n when signal n ended it; None while it runs."""

    def attach(
        self, stdin: BinaryIO, on_output: Callable[[bytes], None], *, interrupt: int | None = None
    ) -> int | None:
        """Connect `stdin` and `on_output` to the agent's terminal until either ends; return `exit_code()`.

        It also returns as soon as the descriptor `interrupt` is readable. The agent keeps running then, and also after
        an exception. Earlier output, at most 64 KiB, is passed on first, so that a screen can be redrawn.
        """

    def resize(self, columns: int, rows: int) -> None:
        """Change the size of the agent's terminal."""

    def output(self, *, most: int) -> bytes:
        """Return the last `most` bytes that the agent wrote to its terminal."""

    def diff(self, *, binary: bool = False) -> TreeDiff:
        """Return what changed in the tree since the launch; the patch has files that are not text only if `binary`."""

    def export(self, path: str, target: Path, *, overwrite: bool = False) -> Sequence[str]:
        """Copy a file or folder of the tree to the host; what the guest wrote is hostile.

        Returns remarks, one line each: what was left out and why, and files that tools run by themselves.
        """

    def network_log(self, *, limit: int) -> list[Mapping[str, object]]:
        """Return the newest connections that the guest attempted, refused ones with the reason."""

    def ends_at(self) -> float:
        """Return the end of its lifetime, in seconds since 1970; raises `Conflict` when its lifetime has no end."""

    def live_until(self, moment: float) -> None:
        """Move the end of its lifetime to this time; raises `Conflict` when its lifetime has no end."""

    def stop(self) -> None:
        """End the bottle and remove all that its launch made, in any state; a second call does nothing."""


class Backend(Protocol):
    """One place where bottles run; its package has a function `backend()` that returns it."""

    name: str

    def problems(self) -> list[str]:
        """Return why no bottle can run here, each reason with what to do; empty if one can."""

    def plan(self, spec: BottleSpec, *, slug: str, stage_dir: Path) -> BottlePlan:
        """Return the plan of a launch; cheap, and without side effects."""

    def steps(self, plan: BottlePlan) -> Sequence[str]:
        """Return what the launch will do on this host, one line each: image, machine, mounts, copies, networks, ports.

        This makes nothing. What is the same on every backend is left out.
        """

    def launch(self, plan: BottlePlan, say: Say) -> Bottle:
        """Make the bottle, provision it and start its agent; a launch that fails or is interrupted leaves nothing."""

    def find(self, slug: str) -> Bottle:
        """Return the bottle of that name; raises `NotFound`."""

    def remove(self, slug: str) -> None:
        """Remove all that a launch of that name made, even if its process was killed; a second call does nothing."""

    def slugs(self) -> list[str]:
        """Return the bottles of this user that were launched and not stopped."""
