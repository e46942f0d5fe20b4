"""Each step of the daily loop says which one is next: doctor, prepare, connect a host, reset."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyro_mcp.host.programs import PACKAGE_OF, find_program
from tests.surfaces.conftest import Cli

CONNECT = "next: 'pyro host connect claude-code'"


def test_doctor_leads_to_prepare_where_nothing_is_warm(cli: Cli) -> None:
    assert cli("doctor").stdout.endswith("\nready to run machines\nnext: 'pyro prepare debian:12'\n")
    told = cli("doctor", "--environment", "debian:12-base").stdout
    assert told.endswith("\nready to run machines\nnext: 'pyro prepare debian:12-base'\n")


def test_doctor_leads_to_a_chat_host_where_the_environment_is_warm(warm_cli: Cli) -> None:
    assert CONNECT in warm_cli("doctor").stdout.splitlines()[-1]


def test_doctor_leads_to_what_is_missing_first(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    told = cli("doctor")

    assert told.returncode == 5
    assert told.stdout.splitlines()[-1].startswith("next: fix each MISS as described")


def test_doctor_names_the_feature_that_a_missing_program_costs(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for tool in PACKAGE_OF.keys() - {"skopeo"}:
        found = find_program(tool)
        assert found is not None
        (tmp_path / tool).symlink_to(found)
    monkeypatch.setenv("PATH", str(tmp_path))
    told = cli("doctor")

    assert told.returncode == 0
    assert "note  skopeo              not installed (needed for oci: environments only)" in told.stdout
    assert "MISS" not in told.stdout
    assert "\nready to run machines, but without: oci: environments\n" in told.stdout


def test_prepare_leads_to_a_chat_host_and_names_reset(warm_cli: Cli) -> None:
    *_, connect, reset = warm_cli("prepare", "debian:12").stdout.splitlines()

    assert connect.startswith(CONNECT)
    assert "'pyro workspace reset'" in reset
