from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pyro_mcp.environments import EnvironmentStore
from pyro_mcp.errors import EnvironmentFailed, InvalidRequest

Extract = Callable[[Path], Path]


@pytest.fixture
def root(real: EnvironmentStore, extract: Extract) -> Path:
    image = real.installed("debian:12-base")
    assert image is not None
    return extract(image.path)


def test_a_debian_root_is_complete_and_knows_nothing_of_its_maker(root: Path) -> None:
    assert (root / "etc/debian_version").read_text().startswith("12.")
    assert (root / "bin/sh").exists()
    assert (root / "etc/ssl/certs/ca-certificates.crt").stat().st_size > 100_000
    assert (root / "workspace").is_dir()
    assert (root / "etc/resolv.conf").read_bytes() == b""
    assert not (root / "etc/hostname").exists()
    assert not (root / "etc/machine-id").exists()
    assert list((root / "etc/apt/apt.conf.d").glob("99*")) == []
    assert "deb http" in (root / "etc/apt/sources.list").read_text()


def test_a_debian_root_has_its_own_owners_and_modes(root: Path) -> None:
    shadow = (root / "etc/shadow").stat()
    assert (shadow.st_uid, shadow.st_gid, shadow.st_mode & 0o777) == (0, 42, 0o640)
    assert (root / "tmp").stat().st_mode & 0o7777 == 0o1777


def test_a_debian_root_keeps_its_setuid_programs(real: EnvironmentStore) -> None:
    # fsck.erofs drops that bit when it extracts, and dump.erofs when it prints: so look at the inode itself, whose
    # mode is a little-endian number at byte 4; inodes are numbered in units of 32 bytes.
    image = real.pull("debian:12-base").path
    shown = subprocess.run(["dump.erofs", "--path=/usr/bin/passwd", image], check=True, capture_output=True, text=True)
    words = shown.stdout.split()
    with image.open("rb") as file:
        file.seek(int(words[words.index("NID:") + 1]) * 32 + 4)
        assert int.from_bytes(file.read(2), "little") == stat.S_IFREG | 0o4755


def test_a_debian_root_carries_licences_but_no_manuals_and_no_package_lists(root: Path) -> None:
    assert (root / "usr/share/doc/bash/copyright").exists()
    assert [path for path in (root / "usr/share/man").rglob("*") if path.is_file()] == []
    assert list((root / "var/lib/apt/lists").rglob("*_Packages*")) == []


def test_its_commands_get_a_sane_environment(real: EnvironmentStore) -> None:
    assert real.pull("debian:12-base").environ["LANG"] == "C.UTF-8"


def test_a_mirror_that_does_not_answer_is_an_error_that_says_what_to_set(
    environments: EnvironmentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYRO_DEBIAN_MIRROR", "http://127.0.0.1:9/debian")
    with pytest.raises(EnvironmentFailed) as caught:
        environments.pull("debian:12-base")
    assert "127.0.0.1:9" in caught.value.message
    assert "PYRO_DEBIAN_MIRROR" in caught.value.hint


def test_the_hosts_proxy_is_used(
    environments: EnvironmentStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    configured = tmp_path / "apt-config"
    configured.write_text("#!/bin/sh\necho 'Acquire::http::Proxy \"http://127.0.0.1:9\";'\n")
    configured.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("PYRO_DEBIAN_MIRROR", "http://mirror.invalid/debian")
    with pytest.raises(EnvironmentFailed, match=r"127\.0\.0\.1:9"):
        environments.kernel()


@pytest.mark.parametrize("mirror", ["ftp://x/debian", "http://x y", "[trusted=yes] http://x/debian", "file:///etc"])
def test_a_mirror_that_is_not_an_address_is_refused(
    environments: EnvironmentStore, monkeypatch: pytest.MonkeyPatch, mirror: str
) -> None:
    monkeypatch.setenv("PYRO_DEBIAN_MIRROR", mirror)
    with pytest.raises(InvalidRequest):
        environments.pull("debian:12-base")
