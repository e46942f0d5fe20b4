"""The host's shortcomings for machines with network."""

from __future__ import annotations

import os
from pathlib import Path

from pyro_mcp.errors import HostToolMissing
from pyro_mcp.host.programs import require_program

_TUN = Path("/dev/net/tun")
# Settings that keep ordinary users from making namespaces: Debian's, Ubuntu's, the kernel's own.
_FORBIDDING_VALUES = {
    Path("/proc/sys/kernel/unprivileged_userns_clone"): "0",
    Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"): "1",
    Path("/proc/sys/user/max_user_namespaces"): "0",
}


def network_problems(*, needs_tap: bool = True) -> list[tuple[str, str]]:
    """Return what is missing on this host, each with its remedy, in one sentence each.

    A gateway for a container does not need a tap.
    """
    found = []
    try:
        require_program("nft")
    except HostToolMissing as error:
        found.append((error.message, error.hint))
    if needs_tap and not _TUN.exists():
        found.append((f"there is no {_TUN}", "load it with: sudo modprobe tun"))
    elif needs_tap and not os.access(_TUN, os.R_OK | os.W_OK):
        rule = 'KERNEL=="tun", MODE="0666"'
        remedy = f"allow it with: sudo chmod 0666 {_TUN}, and permanently with the udev rule {rule}"
        found.append((f"you may not open {_TUN}", remedy))
    if os.geteuid() != 0:
        found += [
            (f"{path} forbids user namespaces", f"allow them with: echo {_other(path.name, value)} | sudo tee {path}")
            for path, value in _FORBIDDING_VALUES.items()
            if _holds(path, value)
        ]
    return found


def _other(name: str, value: str) -> str:
    return "0" if value == "1" else "10000" if "max" in name else "1"


def _holds(path: Path, value: str) -> bool:
    try:
        return path.read_text().strip() == value
    except OSError:
        return False
