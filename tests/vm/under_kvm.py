"""Run the essential tests under KVM: `python -m tests.vm.under_kvm`.

Where KVM works they run here. Elsewhere they run inside a machine of our own: QEMU's emulated processor has AMD's
virtualisation with nested paging, so the kvm-amd module gives that machine a /dev/kvm that works.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyro_mcp.engine.disks import make_baseline
from pyro_mcp.engine.guest import GuestEngine
from pyro_mcp.engine.initramfs import BOOT_MODULES
from pyro_mcp.engine.interface import Shape, System
from pyro_mcp.environments import EnvironmentStore, RootImage, load_order
from pyro_mcp.environments.catalog import Recipe
from pyro_mcp.environments.debian import DebianSource
from pyro_mcp.environments.kernel import GuestKernel
from pyro_mcp.machines.images import Images
from tests.conftest import ROOT, real_cache
from tests.vm.running_vm import ENVIRON, Vm, running

TESTS = "tests/vm/test_essentials.py"
_NESTED = "debian:12-nested"
_PACKAGES = (
    "bubblewrap", "e2fsprogs", "erofs-utils", "kmod", "python3-hypothesis", "python3-pytest", "python3-pytest-timeout",
    "qemu-system-x86",
    "qemu-utils", "util-linux",
)  # fmt: skip
# With two processors this kernel stood still for good in one of two runs: QEMU 7.2 emulates SVM in two threads.
_SHAPE = Shape(vcpu_count=1, mem_mib=3072)
_DEADLINE_SECONDS = 600
# Debian's udev gives the device to the group kvm in just this way; its number does not matter.
_KVM = "modprobe kvm-amd && chgrp 994 /dev/kvm && chmod 660 /dev/kvm"


def main() -> int:
    cache = real_cache()
    environments = EnvironmentStore(cache)
    images = Images(environments)
    with step("debian:12 and the guest kernel"):
        image = images.pulled("debian:12")
    if not GuestEngine(cache).accelerator_fault("kvm"):
        environ = {**os.environ, "PYRO_TEST_ACCELERATOR": "kvm"}
        return subprocess.run([sys.executable, "-m", "pytest", TESTS], cwd=ROOT, env=environ, check=False).returncode
    say("KVM does not work here, so an emulated machine that has it is made")
    return _run_nested(cache, image, environments.kernel())


def _run_nested(cache: Path, image: RootImage, kernel: GuestKernel) -> int:
    with tempfile.TemporaryDirectory(prefix="pyro-", dir="/tmp") as name:
        folder = Path(name)
        with step(f"{_NESTED}, with QEMU and KVM's modules"):
            system = _nested_system(cache, kernel)
        with step("our source and images as its /workspace"):
            baseline = _workspace(folder, [image.path.parent, kernel.vmlinuz.parent], cache)
        machines = GuestEngine(cache)
        with step("a template of the outer machine"):
            machines.prepare(system, _SHAPE, accelerator="tcg")
        if (status := _try_nested(machines, system, folder / "first", baseline)) == 0:
            return 0
        # QEMU 7.2 emulates SVM with faults: now and then a guest's kernel stands still while it boots.
        say(f"the tests ended with {status}; once more, in a fresh outer machine")
        return _try_nested(machines, system, folder / "second", baseline)


def _try_nested(machines: GuestEngine, system: System, folder: Path, baseline: Path) -> int:
    """Run the tests in an outer machine of their own; return their exit code."""
    folder.mkdir()
    lifetime = 2 * _DEADLINE_SECONDS
    with running(
        machines, system, folder, shape=_SHAPE, lifetime_seconds=lifetime, baseline=baseline, accelerator="tcg"
    ) as outer:
        with step("KVM inside it"):
            outer.sh(_KVM, timeout_seconds=60)
        with step("the tests"):
            return _run_tests(outer)


def _nested_system(cache: Path, kernel: GuestKernel) -> System:
    """Return what the outer machine boots from: an environment with all that we need, and the modules of its kernel."""
    packages = (*_PACKAGES, f"linux-image-{kernel.version}")
    source = DebianSource(Recipe(_NESTED, kernel.version, "to test KVM in", packages))
    image = EnvironmentStore(cache, find_source=lambda _: source).pull(_NESTED)
    modules = tuple(load_order(kernel.modules, BOOT_MODULES))
    return System(kernel.vmlinuz, kernel.digest, modules, image.path, image.digest)


def _workspace(folder: Path, shelved: list[Path], cache: Path) -> Path:
    """Make an image that holds the source tree and these parts of the cache, and return its path."""
    tree = folder / "workspace"
    for name in ("src", "tests"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(ROOT / "pyproject.toml", tree)
    for part in shelved:
        shutil.copytree(part, tree / "cache/pyro-mcp" / part.relative_to(cache))
    make_baseline(tree, folder / "baseline")
    return folder / "baseline"


def _run_tests(outer: Vm) -> int:
    environ = {
        **ENVIRON,
        "PYTHONPATH": "/workspace/src",
        "PYRO_TEST_ACCELERATOR": "kvm",
        "PYRO_TEST_CACHE": "/workspace/cache",
    }
    done = outer.run(
        *("python3", "-m", "pytest", "--verbose", "-p", "no:cacheprovider", TESTS),
        environ=environ,
        timeout_seconds=_DEADLINE_SECONDS,
        on_stdout=_pass_on,
        on_stderr=_pass_on,
    )
    return done.exit_code


def _pass_on(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.flush()


@contextmanager
def step(what: str) -> Iterator[None]:
    """Say how long a step took."""
    started = time.monotonic()
    yield
    say(f"{what}: {time.monotonic() - started:.1f} s")


def say(line: str) -> None:
    sys.stdout.write(f"== {line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
