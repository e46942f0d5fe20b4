"""What a guest sees of a kernel that is a process, and what its host sees when that kernel panics."""

from __future__ import annotations

import platform
import time

import pytest

from pyro_mcp import Pyro
from pyro_mcp.engine.uml.programs import KERNEL_FILE
from pyro_mcp.errors import GuestGone

pytestmark = pytest.mark.skipif(not KERNEL_FILE.exists(), reason="the kernel was not built: make uml-kernel")


@pytest.fixture
def native(pyro: Pyro, monkeypatch: pytest.MonkeyPatch) -> Pyro:
    """The SDK, with machines whose kernel is a process."""
    monkeypatch.setenv("PYRO_ACCELERATOR", "uml")
    return pyro


def run(pyro: Pyro, script: str) -> str:
    done = pyro.run_in_vm("debian:12", command=script)
    assert (done["exit_code"], done["accelerator"]) == (0, "uml"), done
    return done["stdout"]


def test_the_kernel_has_our_name_and_a_date_and_does_not_name_the_host(native: Pyro) -> None:
    release, version, *processor = run(native, "uname -r; uname -v; cat /proc/cpuinfo").splitlines()

    assert release.endswith("-pyro")
    assert "SMP" in version and "UTC 20" in version
    assert "vendor_id\t: User Mode Linux" in processor
    assert not [line for line in processor if line.startswith("host") or platform.release() in line]


def test_the_kernel_boots_without_a_complaint(native: Pyro) -> None:
    assert run(native, "dmesg --level=emerg,alert,crit,err --notime") == ""
    said = run(native, "dmesg")
    assert "Run /init as init process" in said
    assert "epollctl" not in said and "Unknown kernel command line" not in said


def test_a_guest_has_the_clock_of_its_host(native: Pyro) -> None:
    before = int(time.time())
    zone, seconds = run(native, "date '+%Z %s'").split()

    assert zone == "UTC"
    assert before <= int(seconds) <= time.time()


def test_the_panic_of_the_kernel_is_in_the_error_and_in_the_record(native: Pyro) -> None:
    eat = "python3 -c 'a = []\nwhile True: a.append(bytearray(b\"x\" * (1 << 24)))'"
    id_ = native.create_workspace("debian:12", mem_mib=256)["workspace_id"]
    with pytest.raises(GuestGone, match="its kernel panicked: Out of memory: compulsory panic_on_oom is enabled"):
        native.exec_workspace(id_, command=f"echo 2 >/proc/sys/vm/panic_on_oom; {eat}", timeout_seconds=60)
    assert "its kernel panicked: Out of memory" in str(native.status_workspace(id_)["failure"])
    native.start_workspace(id_)
    assert native.exec_workspace(id_, command="echo again")["stdout"] == "again\n"
    native.delete_workspace(id_)
