from __future__ import annotations

from pathlib import Path

import pytest

from pyro_mcp.environments import EnvironmentStore, load_order
from pyro_mcp.errors import EnvironmentFailed


@pytest.fixture
def modules(tmp_path: Path) -> Path:
    """top needs left and right-hand, both need base; ext4 is built in."""
    (tmp_path / "modules.builtin").write_text("kernel/fs/ext4/ext4.ko\nkernel/crc-one.ko\n")
    (tmp_path / "kernel").mkdir()
    needs = {"top": "left,right_hand", "left": "base", "right-hand": "base,crc_one", "base": "", "lost": "nowhere"}
    needs |= {"egg": "hen", "hen": "egg"}
    for name, needed in needs.items():
        content = f"\x7fELF depends=no\0license=GPL\0depends={needed}\0intree=Y\0"
        (tmp_path / "kernel" / f"{name}.ko").write_bytes(content.encode())
    return tmp_path


def test_what_a_module_needs_comes_before_it_and_once(modules: Path) -> None:
    names = [path.stem for path in load_order(modules, ["top", "base", "left"])]
    assert names == ["base", "left", "right-hand", "top"]


def test_a_builtin_module_is_not_loaded(modules: Path) -> None:
    assert load_order(modules, ["ext4"]) == []


def test_dash_and_underscore_are_the_same(modules: Path) -> None:
    assert load_order(modules, ["right_hand"]) == load_order(modules, ["right-hand"])


@pytest.mark.parametrize("name", ["missing", "lost", "egg"])
def test_a_module_that_cannot_be_loaded_is_an_error(modules: Path, name: str) -> None:
    with pytest.raises(EnvironmentFailed, match="the kernel module"):
        load_order(modules, [name])


def test_the_guest_kernel_has_all_that_a_guest_boots_with(real: EnvironmentStore) -> None:
    kernel = real.kernel()
    boot = ["virtio_pci", "virtio_blk", "virtio_console", "virtio_net", "virtio_rng", "overlay", "erofs", "ext4"]
    files = load_order(kernel.modules, boot)
    assert {"virtio.ko", "virtio_blk.ko", "erofs.ko", "overlay.ko"} <= {path.name for path in files}
    assert all(path.read_bytes().startswith(b"\x7fELF") for path in files)
    assert kernel.vmlinuz.read_bytes()[0x202:0x206] == b"HdrS"
    assert kernel.version == kernel.modules.name
