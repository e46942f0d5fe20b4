"""What this host has, what it lacks, and the one command that mends it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from pyro_mcp.engine import Engine, Shape
from pyro_mcp.errors import PyroError
from pyro_mcp.host.files import cache_home, runtime_home, state_home
from pyro_mcp.host.tools import PACKAGE_OF, find_tool
from pyro_mcp.results import DoctorCheck, DoctorReport, EnvironmentReadiness
from pyro_mcp.workspaces.images import Images

_WANTED_BYTES = 2 * 1024**3
# Only pulls from registries need these, and only an ordinary user needs newuidmap.
_OPTIONAL = {"skopeo": "oci: environments", "umoci": "oci: environments"}


def report(engine: Engine, images: Images, environment: str | None) -> DoctorReport:
    """Look at the host; starts nothing but, once per host boot, QEMU to see whether KVM works."""
    checks = [*_tools(), *_folders(), _space()]
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


def _space() -> DoctorCheck:
    folder = Path(cache_home())
    free = shutil.disk_usage(folder).free
    return {
        "name": "disk space",
        "ok": free >= _WANTED_BYTES,
        "detail": f"{free / 1024**3:.1f} GiB free in the cache folder",
        "hint": "" if free >= _WANTED_BYTES else "2 GiB are wanted; 'pyro env prune' removes unused environments",
    }


def _accelerator(engine: Engine) -> tuple[str, str]:
    try:
        found = engine.accelerator()
    except PyroError as error:
        return "none", error.message
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
