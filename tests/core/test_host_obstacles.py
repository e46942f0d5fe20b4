"""The advice of doctor, on hosts whose files say what this one does not have."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from pyro_mcp.core.host_obstacles import kvm_advice, memory_advice, namespace_advice, uml_advice

USER = 12345
APPARMOR = "proc/sys/kernel/apparmor_restrict_unprivileged_userns"


def host(root: Path, files: Mapping[str, str]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


def device(root: Path, mode: int, group: int) -> Path:
    host(root, {"dev/kvm": "", "etc/group": "root:x:0:\nkvm:x:107:\n"})
    (root / "dev/kvm").chmod(mode)
    os.chown(root / "dev/kvm", 0, group)
    return root


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to others")


@as_root
def test_a_device_of_root_alone_takes_two_commands(tmp_path: Path) -> None:
    advice = kvm_advice(device(tmp_path, 0o600, 0), user=0)
    assert advice == (
        "/dev/kvm is for root alone; to let machines use it: sudo chgrp kvm /dev/kvm && sudo chmod 660 /dev/kvm"
    )
    (tmp_path / "etc/group").write_text("root:x:0:\n")
    assert "sudo groupadd --system kvm && sudo chgrp kvm /dev/kvm" in kvm_advice(tmp_path, user=0)
    assert "sudo usermod --append --groups kvm $USER; then log in again" in kvm_advice(tmp_path, user=USER)


@as_root
def test_a_device_of_a_group_takes_a_member(tmp_path: Path) -> None:
    assert kvm_advice(device(tmp_path, 0o660, 107), user=0) == ""
    assert kvm_advice(tmp_path, user=USER) == (
        "/dev/kvm is for group kvm; to let machines use it: sudo usermod --append --groups kvm $USER; then log in again"
    )
    assert kvm_advice(device(tmp_path, 0o666, 0), user=USER) == ""


@pytest.mark.parametrize(
    ("flags", "advice"),
    [
        ("fpu vmx", "sudo modprobe kvm_intel"),
        ("fpu svm", "sudo modprobe kvm_amd"),
        ("fpu hypervisor", "nested virtualization"),
        ("fpu", "the firmware"),
    ],
)
def test_a_missing_device_has_a_reason(tmp_path: Path, flags: str, advice: str) -> None:
    assert advice in kvm_advice(host(tmp_path, {"proc/cpuinfo": f"processor\t: 0\nflags\t\t: {flags}\n"}))


def test_a_paravirtual_kvm_is_named(tmp_path: Path) -> None:
    assert "kvm_pvm" in kvm_advice(host(tmp_path, {"sys/module/kvm_pvm/refcnt": "0"}))


def test_apparmor_can_be_told_to_let_bubblewrap_make_namespaces(tmp_path: Path) -> None:
    host(tmp_path, {APPARMOR: "1\n"})
    advice = namespace_advice(tmp_path, user=USER)
    assert "profile bwrap /usr/bin/bwrap flags=(unconfined)" in advice and "apparmor_parser -r" in advice
    assert "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0" in advice
    assert namespace_advice(tmp_path, user=0) == ""
    (tmp_path / APPARMOR).write_text("0\n")
    assert namespace_advice(tmp_path, user=USER) == ""


def test_a_profile_for_apparmor_is_one_line_of_shell(tmp_path: Path) -> None:
    advice = namespace_advice(host(tmp_path, {APPARMOR: "1\n"}), user=USER)
    line = advice.split("with: ")[1].split(" | ")[0]
    assert (
        subprocess.run(["/bin/sh", "-c", line], capture_output=True, text=True, check=True).stdout
        == "abi <abi/4.0>,\nprofile bwrap /usr/bin/bwrap flags=(unconfined) {\n  userns,\n}\n"
    )


@pytest.mark.parametrize(
    ("files", "advice"),
    [
        ({".dockerenv": ""}, "--cap-add SYS_ADMIN --security-opt seccomp=unconfined"),
        ({"run/.containerenv": ""}, "--cap-add SYS_ADMIN"),
        ({"proc/sys/kernel/unprivileged_userns_clone": "0\n"}, "sudo sysctl -w kernel.unprivileged_userns_clone=1"),
        ({"proc/sys/user/max_user_namespaces": "0\n"}, "sudo sysctl -w user.max_user_namespaces=15000"),
    ],
)
def test_what_refuses_namespaces_is_named_with_its_remedy(
    tmp_path: Path, files: Mapping[str, str], advice: str
) -> None:
    assert advice in namespace_advice(host(tmp_path, files), user=USER)


@pytest.mark.parametrize(
    ("files", "advice"),
    [
        ({"proc/sys/vm/max_map_count": "10000\n"}, "sudo sysctl -w vm.max_map_count=65530"),
        ({"proc/sys/kernel/seccomp/actions_avail": "kill_process errno allow\n"}, "SECCOMP_RET_TRAP"),
    ],
)
def test_what_limits_a_kernel_that_is_a_process_is_named(tmp_path: Path, files: Mapping[str, str], advice: str) -> None:
    assert advice in uml_advice(host(tmp_path, files))


def test_a_host_without_obstacles_gets_no_advice(tmp_path: Path) -> None:
    files = {"proc/sys/vm/max_map_count": "65530\n", "proc/sys/kernel/seccomp/actions_avail": "trap errno allow\n"}
    host(tmp_path, {**files, "proc/sys/user/max_user_namespaces": "96365\n", APPARMOR: "0\n"})
    assert namespace_advice(tmp_path, user=USER) == uml_advice(tmp_path) == ""


def test_a_container_can_be_given_control_groups(tmp_path: Path) -> None:
    assert "delegated" in memory_advice(tmp_path)
    assert "writable /sys/fs/cgroup" in memory_advice(host(tmp_path, {".dockerenv": ""}))
