"""What cannot be done is refused in a sentence, before anything runs."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from pyro_mcp import Pyro
from pyro_mcp.errors import InvalidRequest, PyroError
from pyro_mcp.host.programs import PACKAGE_OF
from tests.leftovers import machine_leftovers
from tests.surfaces.conftest import Cli

REFUSED = {
    "no processor": (["--vcpu-count", "0"], "virtual processors"),
    "a thousand processors": (["--vcpu-count", "1000"], "virtual processors"),
    "64 MiB of memory": (["--mem-mib", "64"], "192 to"),
    "a petabyte of memory": (["--mem-mib", "1073741824"], "MiB of memory"),
    "a negative time limit": (["--timeout-seconds=-1"], "timeout_seconds is above 0"),
    "no time at all": (["--timeout-seconds", "0"], "timeout_seconds is above 0"),
    "a time limit that is not a number": (["--timeout-seconds", "nan"], "timeout_seconds is above 0"),
    "a time limit without end": (["--timeout-seconds", "inf"], "at most 86400"),
    "a negative life": (["--ttl-seconds=-1", "--timeout-seconds=1"], "ttl_seconds is from 1"),
    "a life that is not a number": (["--ttl-seconds", "nan"], "ttl_seconds is from 1"),
    "a life of centuries": (["--ttl-seconds", "1e10"], "ttl_seconds is from 1"),
}


@pytest.mark.parametrize(("options", "reason"), REFUSED.values(), ids=REFUSED)
def test_a_machine_that_cannot_be_is_refused(options: list[str], reason: str, warm_cli: Cli, home: Path) -> None:
    told = warm_cli("run", "debian:12", *options, "--", "true")

    assert (told.returncode, told.stdout) == (125, "")
    assert reason in told.stderr
    assert machine_leftovers(home) == []


@pytest.mark.parametrize("option", ["--vcpu-count", "--mem-mib", "--timeout-seconds"])
def test_an_option_that_is_not_a_number_is_wrong_usage(option: str, cli: Cli) -> None:
    told = cli("run", "debian:12", option, "many", "--", "true")

    assert (told.returncode, told.stdout) == (2, "")
    assert option in told.stderr


def test_a_command_without_its_dashes_is_wrong_usage(cli: Cli) -> None:
    told = cli("run", "debian:12", "true")

    assert told.returncode == 2
    assert "after --" in told.stderr


def test_an_unknown_environment_brings_its_near_matches(cli: Cli) -> None:
    told = cli("run", "debain:12", "--", "true")

    assert told.returncode == 125
    assert "debian:12" in told.stderr
    assert "oci:" in told.stderr


def test_a_command_that_is_not_there_gives_127(warm_cli: Cli) -> None:
    told = warm_cli("run", "debian:12", "--", "no-such-program")

    assert told.returncode == 127
    assert "no-such-program" in told.stderr


def test_an_argument_need_not_be_text(warm_cli: Cli) -> None:
    told = warm_cli("run", "debian:12", "--", "sh", "-c", 'printf %s "$1" | od -An -tx1', "sh", b"\xff\xfe")

    assert (told.returncode, told.stdout.split()) == (0, ["ff", "fe"])


def test_ten_megabytes_of_output_come_through(warm_cli: Cli) -> None:
    told = warm_cli("run", "debian:12", "--", "sh", "-c", "yes 0123456789abcde | head -c 10000000")

    assert (told.returncode, len(told.stdout)) == (0, 10_000_000)


def test_a_command_line_of_200_kilobytes_comes_through(warm_cli: Cli) -> None:
    words = [character * 100_000 for character in "xy"]

    told = warm_cli("run", "debian:12", "--", "sh", "-c", 'echo "${#1} ${#2}"', "sh", *words)

    assert told.stdout == "100000 100000\n"


def test_a_command_over_its_time_gives_124_and_a_remark(warm_cli: Cli) -> None:
    told = warm_cli("run", "debian:12", "--timeout-seconds", "1", "--", "sleep", "600")

    assert told.returncode == 124
    assert "--timeout-seconds" in told.stderr


def test_without_qemu_the_command_that_installs_it_is_named(
    warm_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in PACKAGE_OF:
        found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
        if found and not name.startswith("qemu"):
            (tmp_path / name).symlink_to(found)
    monkeypatch.setenv("PATH", str(tmp_path))

    ran, doctor = warm_cli("run", "debian:12", "--", "true"), warm_cli("doctor")

    assert (ran.returncode, ran.stdout) == (125, "")
    assert "qemu" in ran.stderr and "apt-get install" in ran.stderr
    assert doctor.returncode == 5
    assert "apt-get install --no-install-recommends qemu-system-common qemu-system-x86 qemu-utils" in doctor.stdout


def test_where_kvm_does_not_work_doctor_says_why_and_takes_the_next(cli: Cli, pyro: Pyro) -> None:
    report = pyro.doctor()

    assert "/dev/kvm" in report["accelerator_reason"] or "KVM" in report["accelerator_reason"]
    if report["accelerator"] != "kvm":
        how = {"uml": "but a kernel that is a process", "tcg": "so QEMU emulates"}[report["accelerator"]]
        assert how in report["accelerator_reason"]
    assert report["accelerator_reason"].split()[0] in cli("doctor").stdout


def test_an_accelerator_that_does_not_exist_is_refused(warm_cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYRO_ACCELERATOR", "warp")

    told = warm_cli("run", "debian:12", "--", "true")

    assert told.returncode == 125
    assert "auto, kvm, uml, tcg" in told.stderr


@pytest.mark.parametrize(
    "command", [[], [""], ["echo", "a\0b"], ["echo", "x" * 2_000_000], ["echo", "\ud800"]],
    ids=["no word", "an empty word", "a NUL", "2 MB", "half a character"],
)  # fmt: skip
def test_a_command_that_no_program_can_be_given_is_refused(pyro: Pyro, home: Path, command: list[str]) -> None:
    with pytest.raises(InvalidRequest):
        pyro.run_in_vm("debian:12", command=command)

    assert machine_leftovers(home) == []


def test_a_machine_that_is_not_known_is_not_found_by_any_verb(pyro: Pyro) -> None:
    for act in (pyro.start_vm, pyro.stop_vm, pyro.delete_vm, pyro.status_vm, pyro.network_info_vm):
        with pytest.raises(PyroError, match="there is no machine") as raised:
            act("vm-../../etc")
        assert raised.value.code == "not_found"
