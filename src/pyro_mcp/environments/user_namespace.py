"""Run a program as root over one folder, in a user namespace when this process is not root.

The files of a root filesystem have many owners. Root may create them; any other user is root in a user namespace, over
the ids that /etc/subuid grants. In both cases the program sees the rest of the host read-only, and ends with this
process.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Sequence
from pathlib import Path

from pyro_mcp.errors import HostCommandFailed, HostNotReady
from pyro_mcp.host.process import Completed, run
from pyro_mcp.host.programs import require_program

_ID_COUNT = 65536
_FILE_CAPABILITIES = ("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_MKNOD", "CAP_SETFCAP")
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
    """Run `argv` as root, real or in a user namespace. It can write only below `writable`; its /tmp is private.

    Without `all_capabilities` it has only the capabilities that concern files. Raises what `host.process.run` raises,
    and `HostNotReady` when this user cannot have a user namespace; the hint says how to allow it.
    """
    # Without network /run is hidden: a socket in a read-only folder still accepts connections. With network it stays
    # visible: resolv.conf may be there.
    capabilities = ("ALL",) if all_capabilities else _FILE_CAPABILITIES
    command: list[str | Path] = [
        *user_namespace_command(),
        require_program("bwrap"),
        "--die-with-parent",
        "--unshare-pid", "--unshare-ipc", *([] if network else ["--unshare-net"]),
        *(word for capability in capabilities for word in ("--cap-add", capability)),
        "--ro-bind", "/", "/",
        "--dev", "/dev",
        "--proc", "/proc",
        "--tmpfs", "/tmp",
        *([] if network else ["--tmpfs", "/run"]),
        "--bind", writable, writable,
        "--chdir", writable,
        "--",
        require_program(str(argv[0])), *argv[1:],
    ]  # fmt: skip
    try:
        return run(
            command,
            deadline_seconds=deadline_seconds,
            extra_environment={"PATH": _SYSTEM_PATH, "TMPDIR": "/tmp"},  # the caller's TMPDIR may be read-only there
            on_stderr_line=on_stderr_line,
        )
    except HostCommandFailed as error:
        raise _namespace_refused(error) or error from None


def remove_tree(path: Path) -> None:
    """Remove a folder that programs of `run_as_root` filled, if it exists."""
    if path.is_symlink() or path.exists():
        # Twice: a program whose parent was just killed may still add a file while the folder is emptied.
        script = 'rm -rf --one-file-system "$1" || rm -rf --one-file-system "$1"'
        run_as_root(["sh", "-c", script, "sh", path], writable=path.parent, deadline_seconds=300)


def user_namespace_command() -> list[str | Path]:
    """Return the start of a command line that gives its program many user ids; raises `HostNotReady` with a remedy."""
    if os.geteuid() == 0:
        return []
    require_program("newuidmap")
    user = _user_name()
    if not (grants_enough_ids(Path("/etc/subuid"), user) and grants_enough_ids(Path("/etc/subgid"), user)):
        raise HostNotReady(
            f"the user {user} has no range of subordinate user ids, which the owners in a root filesystem need",
            hint=f"grant one with: sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}",
        )
    return [require_program("unshare"), "--map-root-user", "--map-auto"]


def _user_name() -> str:
    """Return the user's name, or the user id where no account has it, as in some containers."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def grants_enough_ids(table: Path, user: str) -> bool:
    """Return whether `table` (lines of user:first:count) grants `user` enough ids in one range."""
    try:
        rows = [line.strip().split(":") for line in table.read_text(errors="replace").splitlines()]
    except OSError:
        return False
    counts = (row[2] for row in rows if len(row) == 3 and row[0] in (user, str(os.geteuid())))
    return any(count.isdigit() and int(count) >= _ID_COUNT - 1 for count in counts)


def _namespace_refused(error: HostCommandFailed) -> HostNotReady | None:
    programs = ("unshare: ", "newuidmap: ", "newgidmap: ", "bwrap: ")
    complaints = [line for line in error.message.splitlines()[1:] if line.startswith(programs)]
    if not complaints:
        return None
    return HostNotReady(
        f"the host refuses the user namespace that environments are made in: {complaints[-1]}",
        hint="allow user namespaces with: sudo sysctl kernel.unprivileged_userns_clone=1"
        " kernel.apparmor_restrict_unprivileged_userns=0 (whichever of the two exists), or run as root"
        f"\n{error.hint}",
    )
