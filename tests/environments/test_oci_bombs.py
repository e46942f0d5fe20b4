"""Images that would fill the disk, or that hold what a root file system seldom holds."""

from __future__ import annotations

import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from pyro_mcp.environments import EnvironmentStore, oci
from pyro_mcp.errors import EnvironmentFailed
from tests.environments.oci_images import HELLO, Entry, Registry, folder, link, sparse

_STRANGE = {
    "a device": [
        Entry("disk", kind=tarfile.BLKTYPE),
        Entry("null", kind=tarfile.CHRTYPE),
        Entry("pipe", kind=tarfile.FIFOTYPE),
    ],
    "names for a terminal": [Entry("a\nb"), Entry("\x1b[31mred"), Entry("\u202etxt.exe"), Entry("x" * 255)],
    "a thousand folders deep": [folder("/".join("d" * depth)) for depth in range(1, 1000, 100)],
    "one name for many things": [Entry("a"), folder("a"), Entry("a/b"), link("a", "/etc"), Entry("a"), folder("a")],
    "users out of range": [Entry("a", owner=2**31 - 2)],
    "capabilities and set-user-id": [
        Entry("su", mode=0o6755, headers={"SCHILY.xattr.security.capability": "\x01\x00\x00\x02"}),
    ],
}


@pytest.mark.parametrize("size", [64 << 20, 1 << 50], ids=["a bit", "a petabyte"])
def test_a_sparse_file_in_a_layer_does_not_fill_the_disk(
    environments: EnvironmentStore, cache: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(oci, "MAX_FILE_BYTES", 32 << 20)
    registry.push("bomb:1", HELLO, [sparse("bomb", size)])
    with pytest.raises(EnvironmentFailed, match="too large") as caught:
        environments.pull(f"oci:{registry.address}/bomb:1")
    assert "malicious" in caught.value.hint
    assert environments.installed(f"oci:{registry.address}/bomb:1") is None
    du = subprocess.run(["du", "--summarize", "--block-size=1", cache], check=True, capture_output=True)
    assert int(du.stdout.split()[0]) < 8 << 20


@pytest.mark.parametrize("layer", _STRANGE.values(), ids=_STRANGE.keys())
def test_a_strange_image_is_installed_or_refused_as_a_whole(
    environments: EnvironmentStore, cache: Path, registry: Registry, layer: list[Entry]
) -> None:
    registry.push("strange:1", HELLO, layer)
    name = f"oci:{registry.address}/strange:1"
    try:
        image = environments.pull(name)
    except EnvironmentFailed:
        assert environments.installed(name) is None
    else:
        # Not fsck.erofs, which falls over its own feet a thousand folders deep.
        subprocess.run(["dump.erofs", "--path=/bin/hello", image.path], check=True, capture_output=True, timeout=30)
    assert [path for path in cache.rglob("*") if path.name in {"su", "disk", "work", "layout"}] == []
    assert all(not (path.stat().st_mode & 0o6000) for path in cache.rglob("*") if path.is_file())
    assert os.listdir(cache / "environments")
