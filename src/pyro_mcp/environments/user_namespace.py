"""Run a program as root over one folder, also for people who are not root.

Files of a root filesystem have many owners. Root may make them; anybody else is root in a user namespace, over
the ids that /etc/subuid grants. Either way the program sees the rest of the machine read-only, and dies with us.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Sequence
from pathlib import Path

from pyro_mcp.errors import HostCommandFailed, HostNotReady
from pyro_mcp.host.process import Completed, run
from pyro_mcp.host.programs import require_program

_IDS = 65536
_OVER_FILES = ("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_MKNOD", "CAP_SETFCAP")
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def run_as_root(
    argv: Sequence[str | Path],
    *,
    writable: Path,
    deadline_seconds: float,
    network: bool = False,
    all_capabilities: bool = False,
    on_stderr_line: Callable[[str], None] | None = None,
) -> Completed:
    """Run `argv` as (seeming) root; it can write below `writable` only, and its /tmp is its own.

    Without `all_capabilities` it has just those over files. Raises what `host.process.run` raises, and
    `HostNotReady` where this user cannot have a user namespace; the hint says how to allow it.
    """
    capabilities = ("ALL",) if all_capabilities else _OVER_FILES
    words: list[str | Path] = [
        *user_namespace_command(),
        require_program("bwrap"),
        "--die-with-parent",
        "--unshare-pid", "--unshare-ipc", *([] if network else ["--unshare-net"]),
        *(word for capability in capabilities for word in ("--cap-add", capability)),
        "--ro-bind", "/", "/",
        "--dev", "/dev",
        "--proc", "/proc",
        "--tmpfs", "/tmp",
        *([] if network else ["--tmpfs", "/run"]),  # a read-only socket still connects; resolv.conf may be in there
        "--bind", writable, writable,
        "--chdir", writable,
        "--",
        require_program(str(argv[0])), *argv[1:],
    ]  # fmt: skip
    try:
        return run(
            words,
            deadline_seconds=deadline_seconds,
            extra_environment={"PATH": _SYSTEM_PATH, "TMPDIR": "/tmp"},  # the caller's may be read-only in there
            on_stderr_line=on_stderr_line,
        )
    except HostCommandFailed as error:
        raise _namespace_refused(error) or error from None


def remove_tree(path: Path) -> None:
    """Remove a folder that `run_as_root` programs filled; no error when it is not there."""
    if path.is_symlink() or path.exists():
        # Twice: a program whose owner was killed this very moment may still add a file to a folder being emptied.
        script = 'rm -rf --one-file-system "$1" || rm -rf --one-file-system "$1"'
        run_as_root(["sh", "-c", script, "sh", path], writable=path.parent, deadline_seconds=300)


def user_namespace_command() -> list[str | Path]:
    """What a command line must begin with for its program to own many ids; raises `HostNotReady` with the remedy."""
    if os.geteuid() == 0:
        return []
    require_program("newuidmap")
    user = _own_name()
    if not (grants_enough_ids(Path("/etc/subuid"), user) and grants_enough_ids(Path("/etc/subgid"), user)):
        raise HostNotReady(
            f"the user {user} owns no range of subordinate user ids, which a root filesystem needs",
            hint=f"grant one with: sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}",
        )
    return [require_program("unshare"), "--map-root-user", "--map-auto"]


def _own_name() -> str:
    """The user's name, or number: in a container there may be no account behind it."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def grants_enough_ids(table: Path, user: str) -> bool:
    """Whether `table` (lines of user:first:count) grants `user` enough ids in one range."""
    try:
        rows = [line.strip().split(":") for line in table.read_text(errors="replace").splitlines()]
    except OSError:
        return False
    mine = (row[2] for row in rows if len(row) == 3 and row[0] in (user, str(os.geteuid())))
    return any(count.isdigit() and int(count) >= _IDS - 1 for count in mine)


def _namespace_refused(error: HostCommandFailed) -> HostNotReady | None:
    starts = ("unshare: ", "newuidmap: ", "newgidmap: ", "bwrap: ")
    said = [line for line in error.message.splitlines()[1:] if line.startswith(starts)]
    if not said:
        return None
    return HostNotReady(
        f"this machine refuses the namespace in which environments are made: {said[-1]}",
        hint="allow user namespaces with: sudo sysctl kernel.unprivileged_userns_clone=1"
        " kernel.apparmor_restrict_unprivileged_userns=0 (whichever of the two exists), or run as root"
        f"\n{error.hint}",
    )
