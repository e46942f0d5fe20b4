"""What this host has, what it lacks, and the one command that mends it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress

from pyro_mcp.engine import Engine, Shape
from pyro_mcp.environments import user_namespace
from pyro_mcp.errors import PyroError
from pyro_mcp.host.files import cache_home, runtime_home, state_home
from pyro_mcp.host.ids import usable_range
from pyro_mcp.host.seccomp import require_seccomp
from pyro_mcp.host.tools import PACKAGE_OF, find_tool
from pyro_mcp.network import network_problems
from pyro_mcp.results import DoctorCheck, DoctorReport, EnvironmentReadiness
from pyro_mcp.workspaces.images import Images
from pyro_mcp.workspaces.store import Store

_CACHE_BYTES, _STATE_BYTES = 2 * 1024**3, 1024**3 // 2
# Machines of an environment that is installed run without these.
_OPTIONAL = {
    "skopeo": "oci: environments",
    "umoci": "oci: environments",
    "user ids": "building environments",
    "nft": "network",
    "network": "network",
}


def report(engine: Engine, images: Images, environment: str | None) -> DoctorReport:
    """Look at the host; starts nothing but, once per host boot, QEMU to see whether KVM works."""
    checks = [*_tools(), *_folders(), *_space(), _ids(), *_cage(), _database(), _network()]
    missing = sorted({PACKAGE_OF[check["name"]] for check in checks if not check["ok"] and check["name"] in PACKAGE_OF})
    ready = all(check["ok"] for check in checks if check["name"] not in _OPTIONAL)
    name, reason = _accelerator(engine)
    return {
        "ready": ready and name != "none",
        "accelerator": name,
        "accelerator_reason": reason,
        "checks": checks,
        "missing_packages": missing,
        "install_command": f"sudo apt-get install --no-install-recommends {' '.join(missing)}" if missing else "",
        "environment": _readiness(engine, images, environment) if environment is not None else None,
    }


def _tools() -> Iterator[DoctorCheck]:
    for tool in sorted(PACKAGE_OF):
        if tool == "newuidmap" and os.getuid() == 0:
            continue
        found = find_tool(tool)
        needed = f" (only for {_OPTIONAL[tool]})" if tool in _OPTIONAL else ""
        yield {
            "name": tool,
            "ok": found is not None,
            "detail": str(found) if found else f"not installed{needed}",
            "hint": "" if found else f"Debian package: {PACKAGE_OF[tool]}",
        }


def _folders() -> Iterator[DoctorCheck]:
    for name, folder in (("cache folder", cache_home), ("state folder", state_home), ("runtime folder", runtime_home)):
        try:
            path = folder()
            yield {"name": name, "ok": os.access(path, os.W_OK), "detail": str(path), "hint": ""}
        except PyroError as error:
            yield {"name": name, "ok": False, "detail": error.message, "hint": error.hint}


def _space() -> Iterator[DoctorCheck]:
    for name, folder, wanted, remedy in (
        ("cache space", cache_home, _CACHE_BYTES, "'pyro env prune' removes what is not used"),
        ("state space", state_home, _STATE_BYTES, "delete workspaces that are not needed any more"),
    ):
        with suppress(PyroError):  # which the folder's own check tells
            free = shutil.disk_usage(folder()).free
            hint = "" if free >= wanted else f"{wanted / 1024**3:.1f} GiB are wanted; {remedy}"
            yield {"name": name, "ok": not hint, "detail": f"{free / 1024**3:.1f} GiB free", "hint": hint}


def _ids() -> DoctorCheck:
    return _tried("user ids", "enough to build environments", user_namespace)


def _cage() -> Iterator[DoctorCheck]:
    yield _tried("seccomp filters", "the kernel has them", require_seccomp)
    if os.getuid() == 0:
        yield _tried("machine ids", "every machine gets a user of its own", usable_range)


def _database() -> DoctorCheck:
    return _tried("database", "can be used", lambda: Store(state_home() / "pyro.db"))


def _network() -> DoctorCheck:
    problems = network_problems()
    return {
        "name": "network",
        "ok": not problems,
        "detail": "; ".join(what for what, _ in problems) or "machines can have one",
        "hint": "; ".join(mend for _, mend in problems),
    }


def _tried(name: str, detail: str, step: Callable[[], object]) -> DoctorCheck:
    try:
        step()
    except PyroError as error:
        return {"name": name, "ok": False, "detail": error.message, "hint": error.hint}
    return {"name": name, "ok": True, "detail": detail, "hint": ""}


def _accelerator(engine: Engine) -> tuple[str, str]:
    try:
        found = engine.accelerator()
    except PyroError as error:
        return "none", f"{error.message}; {error.hint}" if error.hint else error.message
    return found.name, found.reason


def _readiness(engine: Engine, images: Images, environment: str) -> EnvironmentReadiness:
    image = images.installed(environment)
    if image is None:
        hint = f"'pyro prepare {environment}' builds it and makes it warm"
        return {"environment": environment, "readiness": "absent", "hint": hint}
    try:
        readiness = engine.readiness(images.system(image), Shape())
    except PyroError as error:
        return {"environment": environment, "readiness": "cold", "hint": error.message}
    hint = "" if readiness == "warm" else f"'pyro prepare {environment}' makes it warm"
    return {"environment": environment, "readiness": readiness, "hint": hint}
