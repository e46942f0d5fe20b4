"""Find out whether a kernel that is a process works on this host: a small machine boots in its full cage."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

from pyro_mcp.engine import processes
from pyro_mcp.engine.cage import CONFINE
from pyro_mcp.engine.disks import make_baseline
from pyro_mcp.engine.interface import MIN_MEM_MIB, Shape, StartRequest, System
from pyro_mcp.engine.lifetime import GUARD
from pyro_mcp.engine.sockets import MachineSockets
from pyro_mcp.engine.uml.programs import DEVICES_FILE, KERNEL_FILE, WAIT_FOR_SPACE_FILE
from pyro_mcp.engine.uml.starter import UmlStarter
from pyro_mcp.errors import PyroError
from pyro_mcp.host.files import file_version, temporary_folder
from pyro_mcp.host.programs import find_program
from pyro_mcp.host.progress import silent

_LIFETIME = 90.0
# The folders that the agent mounts something on.
_ROOT_FOLDERS = ("dev", "etc", "proc", "root", "run", "sys", "tmp", "workspace")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_STATUS = Path("/proc/self/status")
_RIGHTS = ("Uid", "CapEff", "CapBnd", "NoNewPrivs", "Seccomp")
# kernel parameters on which bubblewrap's namespaces and the mappings of the guest's memory depend
_PARAMETERS = (
    "kernel/apparmor_restrict_unprivileged_userns", "kernel/unprivileged_userns_clone", "kernel/seccomp/actions_avail",
    "user/max_user_namespaces", "vm/max_map_count", "vm/overcommit_memory",
)  # fmt: skip


def uml_circumstances() -> list[str]:
    """Return what may change whether it works: the host's boot, our rights, kernel parameters, the programs."""
    programs = [
        KERNEL_FILE, DEVICES_FILE, WAIT_FOR_SPACE_FILE, CONFINE, GUARD,
        find_program("bwrap"), find_program("qemu-storage-daemon"),
    ]  # fmt: skip
    rights = [line for line in _STATUS.read_text().splitlines() if line.startswith(_RIGHTS)]
    parameters = [_content(Path("/proc/sys", name)) for name in _PARAMETERS]
    return [_content(_BOOT_ID), *rights, *parameters, *map(_version, programs)]


def uml_fault(cache: Path) -> str:
    """Return why no machine boots here, as a clause; "" if one does."""
    if not KERNEL_FILE.exists():
        return "the kernel for User-Mode Linux is missing (in a source checkout, make uml-kernel builds it)"
    try:
        with temporary_folder() as folder:
            _boot(cache, folder)
    except PyroError as error:
        return f"User-Mode Linux does not work here ({_reason(error)})"
    return ""


def _boot(cache: Path, folder: Path) -> None:
    for name in _ROOT_FOLDERS:
        (folder / "tree" / name).mkdir(parents=True)
    root = folder / "root"
    make_baseline(folder / "tree", root)
    home, sockets = folder / "machine", MachineSockets(folder / "sockets")
    home.mkdir()
    system = System(root, "", (), root, "")
    request = StartRequest(
        system, Shape(mem_mib=MIN_MEM_MIB), home, sockets.folder, "probe", _LIFETIME, accelerator="uml"
    )
    try:
        identity = UmlStarter(cache).start(request, system, silent)
        processes.kill(identity, sockets)
    finally:
        shutil.rmtree(sockets.folder, ignore_errors=True)


def _reason(error: PyroError) -> str:
    """Return the line of an error that says most: what the cage printed, else the first one."""
    lines = error.message.splitlines()
    printed = [line.removeprefix("Its processes printed: ") for line in lines[1:]]
    return next((line for line in printed if line.startswith(("bwrap:", "pyro-"))), lines[0]).strip()


def _content(path: Path) -> str:
    with suppress(OSError):
        return path.read_text().strip()
    return ""


def _version(program: Path | None) -> str:
    with suppress(OSError):
        if program is not None:
            return str(file_version(program))
    return ""
