"""Which build of an environment a machine is started on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pyro_mcp.environments import EnvironmentStore
from pyro_mcp.machines.images import Images
from pyro_mcp.machines.machine_store import MachineRecord
from pyro_mcp.machines.phases import Phase
from tests.environments.fake_source import FakeSource


def test_a_disk_is_started_on_the_build_that_it_lies_upon_though_a_newer_one_is_installed(tmp_path: Path) -> None:
    sources = [FakeSource("debian:12", tmp_path / "journal", size=size) for size in (10, 20)]
    sources[1].version = "2"
    old = EnvironmentStore(tmp_path, lambda _: sources[0]).pull("debian:12")
    environments = EnvironmentStore(tmp_path, lambda _: sources[1])
    new = environments.pull("debian:12")
    images = Images(environments)
    record = MachineRecord("ws-1", "debian:12", "1", 1, 1024, False, Phase.STOPPED, 0.0, 1.0)
    assert images.installed("debian:12") == new
    assert images.build_of(record) is None
    assert images.build_of(replace(record, root_digest=old.digest)) == old
    assert images.build_of(replace(record, root_digest="sha256:gone")) is None
