"""`pyro doctor --environment` says truly how soon a machine can start."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyro_mcp import Pyro
from tests.surfaces.conftest import Cli


@pytest.fixture
def fresh(home: Path, warm_cache: Path) -> Path:
    """A cache that has the image and the kernel, but no template."""
    cache = home / "cache/pyro-mcp"
    cache.mkdir(mode=0o700)
    for name in ("environments", "kernels"):
        (cache / name).symlink_to(warm_cache / name)
    return cache


def told(cli: Cli) -> tuple[str, str]:
    """The readiness, by the sentence that the command line prints and by the SDK."""
    printed = cli("doctor", "--environment", "debian:12").stdout
    (line,) = (line for line in printed.splitlines() if line.startswith("debian:12: "))
    found = Pyro().doctor("debian:12")["environment"]
    assert found is not None
    return line.removeprefix("debian:12: ").split(";")[0], found["readiness"]


def test_an_environment_that_is_not_installed_is_absent(cli: Cli) -> None:
    assert told(cli) == ("absent", "absent")


def test_a_kernel_that_is_a_process_needs_nothing_prepared(
    fresh: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYRO_ACCELERATOR", "uml")
    assert told(cli) == ("warm", "warm")
    assert not (fresh / "templates").exists()


def test_an_environment_is_cold_until_it_is_prepared_and_stale_when_its_parts_change(
    fresh: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYRO_ACCELERATOR", "tcg")  # only QEMU's machines have templates
    assert told(cli) == ("cold", "cold")

    prepared = cli("prepare", "debian:12")
    assert (prepared.returncode, prepared.stdout.splitlines()[0].split(": ")[1].split(",")[0]) == (0, "prepared")
    assert told(cli) == ("warm", "warm")
    assert "reused" in cli("prepare").stdout

    # As if QEMU, the kernel or the agent had been another when it was made: then its name would be another.
    (template,) = (fresh / "templates").glob("*/")
    template.rename(template.with_name("0" * 32))
    assert told(cli) == ("stale", "stale")
