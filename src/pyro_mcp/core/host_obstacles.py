"""What on this host keeps an accelerator or the cage from working, and what changes it.

Each function reads files below `root`, which is / but in tests, and returns advice, or "" when it finds no obstacle.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_ROOT = Path("/")
_CONTAINER_MARKS = (".dockerenv", "run/.containerenv", "run/systemd/container")
# As in podman-run(1) and docker's documents: the default profiles refuse `unshare` and `mount` to a container.
_CONTAINER_OPTIONS = "--cap-add SYS_ADMIN --security-opt seccomp=unconfined --security-opt apparmor=unconfined"
# apparmor.d(5); what Ubuntu ships for programs that may make user namespaces looks like this.
_BWRAP_PROFILE = (
    r"printf 'abi <abi/4.0>,\nprofile bwrap /usr/bin/bwrap flags=(unconfined) {\n  userns,\n}\n' "
    "| sudo tee /etc/apparmor.d/bwrap && sudo apparmor_parser -r /etc/apparmor.d/bwrap"
)
_ENOUGH_MAPPINGS = 65530
"""The kernel's default of vm.max_map_count."""


def kvm_advice(root: Path = _ROOT, *, user: int | None = None) -> str:
    """Return what keeps KVM from working, for the user with this number, by default ours."""
    if (root / "sys/module/kvm_pvm").exists():
        return (
            "the module kvm_pvm is loaded: a paravirtual KVM, which runs only guest kernels that were made for it; "
            "use the accelerator uml or tcg"
        )
    try:
        device = os.stat(root / "dev/kvm")
    except OSError:
        return _no_device(root)
    return _device_rights(device, root, os.geteuid() if user is None else user)


def _no_device(root: Path) -> str:
    flags = _words(root / "proc/cpuinfo", "flags")
    if module := {"vmx": "kvm_intel", "svm": "kvm_amd"}.get(next(iter(flags & {"vmx", "svm"}), "")):
        return f"the processor can do it: load the module with: sudo modprobe {module}"
    if "hypervisor" in flags:
        return "this host is a virtual machine whose provider does not offer nested virtualization; uml does without"
    return "the processor has no virtualization, or the firmware has turned it off; uml does without"


def _device_rights(device: os.stat_result, root: Path, user: int) -> str:
    """Every machine of root has a user of its own, which gets the group of the device unless that is root's."""
    if device.st_mode & 0o006 == 0o006 or (user != 0 and user == device.st_uid and device.st_mode & 0o600 == 0o600):
        return ""
    for_groups = device.st_mode & 0o060 == 0o060 and device.st_gid != 0
    if for_groups and (user == 0 or device.st_gid in os.getgroups()):
        return ""
    group = _group_name(root, device.st_gid) if for_groups else "kvm"
    commands = [] if for_groups else ["sudo chgrp kvm /dev/kvm", "sudo chmod 660 /dev/kvm"]
    if not for_groups and "kvm" not in _groups(root).values():
        commands.insert(0, "sudo groupadd --system kvm")
    if user != 0:
        commands.append(f"sudo usermod --append --groups {group} $USER")
    whose = f"group {group}" if for_groups else "root alone"
    again = "; then log in again" if user != 0 else ""
    return f"/dev/kvm is for {whose}; to let machines use it: {' && '.join(commands)}{again}"


def namespace_advice(root: Path = _ROOT, *, user: int | None = None) -> str:
    """Return what keeps bubblewrap from making namespaces, for the user with this number, by default ours."""
    user = os.geteuid() if user is None else user
    settings = root / "proc/sys"
    if any((root / mark).exists() for mark in _CONTAINER_MARKS):
        return f"this is a container; start it with: {_CONTAINER_OPTIONS}"
    if user != 0 and _content(settings / "kernel/apparmor_restrict_unprivileged_userns") == "1":
        return (
            "AppArmor refuses user namespaces to programs without a profile; "
            f"allow them to bubblewrap with: {_BWRAP_PROFILE}; "
            "or to all programs with: sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
        )
    if user != 0 and _content(settings / "kernel/unprivileged_userns_clone") == "0":
        return "allow user namespaces with: sudo sysctl -w kernel.unprivileged_userns_clone=1"
    if _content(settings / "user/max_user_namespaces") == "0":
        return "allow user namespaces with: sudo sysctl -w user.max_user_namespaces=15000"
    return ""


def uml_advice(root: Path = _ROOT) -> str:
    """Return what limits kernels that are processes of this host."""
    actions = _content(root / "proc/sys/kernel/seccomp/actions_avail").split()
    if actions and "trap" not in actions:
        return "the kernel cannot turn system calls into signals (SECCOMP_RET_TRAP); use tcg"
    mappings = _content(root / "proc/sys/vm/max_map_count")
    if mappings.isdecimal() and int(mappings) < _ENOUGH_MAPPINGS:
        return (
            f"a program of the guest needs a mapping for each page, and vm.max_map_count is {mappings}; "
            f"allow more with: sudo sysctl -w vm.max_map_count={_ENOUGH_MAPPINGS}"
        )
    return ""


def memory_advice(root: Path = _ROOT) -> str:
    """Return how processes of ours could get a bound of their own for all their memory."""
    if any((root / mark).exists() for mark in _CONTAINER_MARKS):
        return "this is a container; start it with a writable /sys/fs/cgroup to let it bound them together"
    return "only root, or a process in a tree of control groups that was delegated to its user, can bound them together"


def _content(path: Path) -> str:
    with suppress(OSError):
        return path.read_text().strip()
    return ""


def _words(path: Path, field: str) -> set[str]:
    """Return the words of the first line of a file like /proc/cpuinfo that begins with `field`."""
    lines = (line.partition(":") for line in _content(path).splitlines())
    return next((set(rest.split()) for name, _, rest in lines if name.strip() == field), set())


def _groups(root: Path) -> dict[int, str]:
    entries = (line.split(":") for line in _content(root / "etc/group").splitlines())
    return {int(entry[2]): entry[0] for entry in entries if len(entry) > 2 and entry[2].isdecimal()}


def _group_name(root: Path, number: int) -> str:
    return _groups(root).get(number, str(number))
