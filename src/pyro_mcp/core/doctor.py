"""What this host has, what it lacks, and the one command that mends it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress

from pyro_mcp.core.host_obstacles import kvm_advice, memory_advice, namespace_advice, uml_advice
from pyro_mcp.engine import Engine, Shape, require_namespaces
from pyro_mcp.environments import user_namespace_command
from pyro_mcp.errors import PyroError
from pyro_mcp.hints import Hint, Verb
from pyro_mcp.host.control_groups import make_group, remove_group
from pyro_mcp.host.files import cache_home, state_home
from pyro_mcp.host.programs import PACKAGE_OF, find_program
from pyro_mcp.host.seccomp import require_seccomp
from pyro_mcp.host.user_ids import usable_range
from pyro_mcp.machines import Images, MachineStore, Spares, spare_lifetime_seconds
from pyro_mcp.network import network_problems
from pyro_mcp.results import DoctorCheck, DoctorReport, EnvironmentReadiness
from pyro_mcp.workspaces import Recovery

_CACHE_BYTES, _STATE_BYTES = 2 * 1024**3, 1024**3 // 2
_UNKNOWN = "lost workspaces"
_UML_MEMORY = "uml memory"
# Machines of an installed environment run without these: check → the feature that needs it.
_NEEDED_FOR = {
    "kvm": "kvm",
    "uml": "uml",
    _UML_MEMORY: _UML_MEMORY,
    "skopeo": "oci: environments",
    "umoci": "oci: environments",
    "user ids": "building environments",
    _UNKNOWN: _UNKNOWN,
    "spare machines": "fast starts",
    "nft": "network",
    "network": "network",
}


def report(
    engine: Engine,
    images: Images,
    environment: str | None,
    recovery: Callable[[], Recovery],
    *,
    spares: Callable[[], Spares],
    wish: str,
) -> DoctorReport:
    """Look at the host; starts nothing but the probes of the accelerators, once per host boot if they work."""
    checks = [
        *_tools(),
        *_folders(),
        *_space(),
        _templates(engine),
        *_spares(engine, spares),
        _ids(),
        *_cage(),
        *_accelerators(engine),
        _database(),
        *_unknown(recovery),
        _network(),
    ]
    missing = sorted({PACKAGE_OF[check["name"]] for check in checks if not check["ok"] and check["name"] in PACKAGE_OF})
    ready = all(check["ok"] or check["needed_for"] for check in checks)
    name, reason = _accelerator(engine, wish)
    return {
        "ready": ready and name != "none",
        "accelerator": name,
        "accelerator_reason": reason,
        "checks": checks,
        "missing_packages": missing,
        "install_command": f"sudo apt-get install --no-install-recommends {' '.join(missing)}" if missing else "",
        "environment": _readiness(engine, images, environment, wish) if environment is not None else None,
    }


def _tools() -> Iterator[DoctorCheck]:
    for tool in sorted(PACKAGE_OF):
        if tool == "newuidmap" and os.getuid() == 0:
            continue
        found = find_program(tool)
        hint = "" if found else f"Debian package: {PACKAGE_OF[tool]}"
        yield _check(tool, found is not None, str(found) if found else "not installed", hint)


def _folders() -> Iterator[DoctorCheck]:
    for name, folder in (("cache folder", cache_home), ("state folder", state_home)):
        try:
            path = folder()
            yield _check(name, os.access(path, os.W_OK), str(path))
        except PyroError as error:
            yield _check(name, False, error.message, error.hint)


def _space() -> Iterator[DoctorCheck]:
    for name, folder, wanted, remedy in (
        ("cache space", cache_home, _CACHE_BYTES, Hint("{} removes what is not used", Verb("env prune"))),
        ("state space", state_home, _STATE_BYTES, "delete workspaces that are not needed any more"),
    ):
        with suppress(PyroError):  # which the folder's own check tells
            free = shutil.disk_usage(folder()).free
            hint = "" if free >= wanted else Hint.joined(f"{wanted / 1024**3:.1f} GiB are needed", remedy)
            yield _check(name, not hint, f"{free / 1024**3:.1f} GiB free", hint)


def _templates(engine: Engine) -> DoctorCheck:
    held = engine.template_bytes()
    hint = Hint("{} removes those that no machine runs on", Verb("env prune")) if held > _CACHE_BYTES // 2 else ""
    return _check("templates", True, f"{held / 1024**2:.0f} MiB of warm machines", hint)


def _spares(engine: Engine, spares: Callable[[], Spares]) -> Iterator[DoctorCheck]:
    with suppress(PyroError):  # which the folder's own check tells
        found = [f"{one.order}, for {one.seconds_left:.0f} s" for one in spares().listed(engine)]
        failure = spares().failure()
        off = spare_lifetime_seconds() <= 0
        detail = "; ".join(found) or ("none: PYRO_SPARES=0 is set" if off else "none: the next machine makes one ready")
        yield _check("spare machines", not failure, failure or detail)


def _ids() -> DoctorCheck:
    return _tried("user ids", "enough to build environments", user_namespace_command)


def _cage() -> Iterator[DoctorCheck]:
    yield _tried("seccomp filters", "the kernel has them", require_seccomp)
    yield _tried("namespaces", "bubblewrap can build cages", require_namespaces, advice=namespace_advice)
    if os.getuid() == 0:
        yield _tried("machine ids", "every machine gets a user of its own", usable_range)


def _accelerators(engine: Engine) -> Iterator[DoctorCheck]:
    for name, advice in (("kvm", kvm_advice), ("uml", uml_advice)):
        with suppress(PyroError):  # a missing tool, which its own check names
            fault = engine.accelerator_fault(name)
            yield _check(name, not fault, fault or "works here", advice() if fault and "bwrap:" not in fault else "")
            if name == "uml" and not fault:
                yield _uml_memory()


def _uml_memory() -> DoctorCheck:
    """Say whether the memory of such a machine has a bound as a whole, by making such a bound."""
    group = make_group(1024**2, 1)
    if group is None:
        return _check(_UML_MEMORY, False, "only each process of a machine has a bound", memory_advice())
    remove_group(group)
    return _check(_UML_MEMORY, True, "all processes of a machine have one bound")


def _database() -> DoctorCheck:
    return _tried("database", "can be used", lambda: MachineStore(state_home() / "pyro.db").check())


def _unknown(recovery: Callable[[], Recovery]) -> Iterator[DoctorCheck]:
    """Find workspaces that are on the disk, or run, and are not in the database."""
    with suppress(PyroError):  # which the database's own check tells
        kept, gone = recovery().unknown(), recovery().without_folder()
        found = [f"{one.id} ({one.problem or one.name or 'without a name'})" for one in kept]
        found += [f"{id_} (runs, but its folder was removed)" for id_ in gone]
        hints = [Hint("{} records what is on the disk", Verb("workspace adopt"))] if kept else []
        hints += [Hint("{} ends machines whose folder was removed", Verb("workspace reap-expired"))] if gone else []
        yield _check(_UNKNOWN, not found, ", ".join(found) or "none", Hint.joined(*hints))


def _network() -> DoctorCheck:
    problems = network_problems()
    detail = "; ".join(what for what, _ in problems) or "machines can have one"
    return _check("network", not problems, detail, Hint.joined(*(mend for _, mend in problems)))


def _tried(
    name: str, detail: str, step: Callable[[], object], *, advice: Callable[[], str] = lambda: ""
) -> DoctorCheck:
    try:
        step()
    except PyroError as error:
        return _check(name, False, error.message, error.hint or advice())
    return _check(name, True, detail)


def _check(name: str, ok: bool, detail: str, hint: str = "") -> DoctorCheck:
    return {"name": name, "ok": ok, "detail": detail, "hint": hint, "needed_for": _NEEDED_FOR.get(name, "")}


def _accelerator(engine: Engine, wish: str) -> tuple[str, str]:
    try:
        found = engine.accelerator(wish)
    except PyroError as error:
        return "none", f"{error.message}; {error.hint}" if error.hint else error.message
    return found.name, found.reason


def _readiness(engine: Engine, images: Images, environment: str, wish: str) -> EnvironmentReadiness:
    image = images.installed(environment)
    if image is None:
        hint: str = Hint("{} builds it and makes it warm", Verb("prepare", environment=environment))
        return {"environment": environment, "readiness": "absent", "hint": hint}
    try:
        readiness = engine.template_state(images.system(image), Shape(), wish)
    except PyroError as error:
        return {"environment": environment, "readiness": "cold", "hint": error.message}
    hint = "" if readiness == "warm" else Hint("{} makes it warm", Verb("prepare", environment=environment))
    return {"environment": environment, "readiness": readiness, "hint": hint}
