"""The script that makes the User-Mode Linux kernel, with a small archive in Debian's place and a quick compiler."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.style.project import ROOT

# Stands for apt: each suite has one version; `download` makes a real package with a source archive in it.
APT = r"""#!/usr/bin/env bash
set -euo pipefail
for word; do case $word in Dir::Etc::SourceList=*) list=${word#*=} ;; esac; done
suite=$(sed 's/.* \([a-z-]*\) main$/\1/' "$list")
version=$(sed -n "s/^$suite //p" "$SUITES")
case " $* " in
    *" update "*) [[ -n $version ]] || { echo "E: no suite $suite"; exit 100; } ;;
    *" depends "*) printf 'linux-source\n  Depends: linux-source-%s\n' "$version" ;;
    *" download "*)
        mkdir -p tree/DEBIAN tree/usr/src content/linux
        echo "$suite" >content/linux/suite
        tar -cJf "tree/usr/src/linux-source-$version.tar.xz" -C content linux
        printf 'Package: linux-source-%s\nVersion: %s.1-1\nArchitecture: all\nMaintainer: x\nDescription: x\n' \
            "$version" "$version" >tree/DEBIAN/control
        dpkg-deb --build tree "linux-source-${version}_$version.1-1_all.deb" >/dev/null ;;
esac
"""
# Stands for guest/uml/build: it does not fit the suites in UNFIT, and notes each build.
BUILD = r"""#!/usr/bin/env bash
set -euo pipefail
suite=$(tar -xJOf "$1" linux/suite)
[[ " ${UNFIT:-} " != *" $suite "* ]] || { echo "fix.patch does not apply"; exit 3; }
sleep "${BUILD_SECONDS:-0}"
echo "$suite" >>"$BUILDS"
echo "kernel of $suite" >"$3"
"""


class Checkout:
    """A checkout with our script; all checkouts of a test have one user, and so one cache."""

    def __init__(self, root: Path, name: str) -> None:
        self.folder = root / name
        self.environ = {
            "PATH": f"{root / 'bin'}:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(root),
            "SUITES": str(root / "suites"),
            "BUILDS": str(root / "builds"),
        }
        self.kernel = self.folder / "engine" / "pyro-kernel"
        self.origin = self.kernel.with_name("pyro-kernel.origin")
        self.cache = root / ".cache/pyro-mcp/uml-kernels"
        self.recipe = self.folder / "guest/uml"
        (self.folder / "scripts").mkdir(parents=True)
        shutil.copy2(ROOT / "scripts/uml-kernel", self.folder / "scripts")
        self.recipe.mkdir(parents=True)
        executable(self.recipe / "build", BUILD)

    def start(self, *words: str, **environ: str) -> subprocess.Popen[str]:
        argv = [self.folder / "scripts/uml-kernel", self.kernel, *words]
        output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "stdin": subprocess.DEVNULL}
        return subprocess.Popen(argv, env={**self.environ, **environ}, text=True, **output)  # type: ignore[call-overload, no-any-return]

    def make(self, *words: str, **environ: str) -> tuple[int, str]:
        """Run the script; return its exit code and what it printed."""
        process = self.start(*words, **environ)
        said, _ = process.communicate(timeout=60)
        return process.returncode, said

    def builds(self) -> list[str]:
        """Return the suites of which a kernel was built, in any checkout."""
        noted = Path(self.environ["BUILDS"])
        return noted.read_text().split() if noted.exists() else []


def executable(path: Path, content: str) -> None:
    path.write_text(content)
    path.chmod(0o755)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """A checkout on a host with an empty cache, where Debian has Linux 7.2 in two suites."""
    (tmp_path / "bin").mkdir()
    for program in ("apt-get", "apt-cache"):
        executable(tmp_path / "bin" / program, APT)
    (tmp_path / "suites").write_text("unstable 7.2\ntesting 7.1\ntrixie 6.12\n")
    return Checkout(tmp_path, "one")


def test_a_second_checkout_of_the_same_recipe_does_not_build(checkout: Checkout, tmp_path: Path) -> None:
    other = Checkout(tmp_path, "other")

    assert checkout.make()[0] == 0
    assert other.make() == (0, "")
    assert checkout.make() == (0, "")
    assert checkout.builds() == ["unstable"]
    assert other.kernel.read_text() == "kernel of unstable\n"
    assert os.access(other.kernel, os.X_OK)
    assert not (checkout.folder / "build/uml-kernel").exists()


def test_the_origin_names_the_source_and_the_licence(checkout: Checkout) -> None:
    checkout.make()
    told = checkout.origin.read_text()

    assert "source: linux 7.2.1-1 (linux-source-7.2 of Debian unstable)" in told
    assert "https://snapshot.debian.org/package/linux/7.2.1-1/" in told
    assert "GPL-2.0-only WITH Linux-syscall-note" in told


def test_another_recipe_is_built_anew(checkout: Checkout) -> None:
    checkout.make()
    (checkout.recipe / "new.patch").write_text("a change\n")

    assert checkout.make()[0] == 0
    assert checkout.builds() == ["unstable", "unstable"]


def test_a_kernel_that_was_changed_in_the_checkout_comes_back_from_the_cache(checkout: Checkout) -> None:
    checkout.make()
    checkout.kernel.chmod(0o755)
    checkout.kernel.write_text("another\n")

    assert checkout.make() == (0, "")
    assert checkout.kernel.read_text() == "kernel of unstable\n"
    assert checkout.builds() == ["unstable"]


def test_a_kernel_that_was_changed_in_the_cache_is_not_taken(checkout: Checkout, tmp_path: Path) -> None:
    checkout.make()
    (stored,) = checkout.cache.glob("*/pyro-kernel")
    stored.chmod(0o755)
    stored.write_text("another\n")
    status, said = Checkout(tmp_path, "other").make()

    assert (status, checkout.builds()) == (0, ["unstable", "unstable"])
    assert f"{stored} was changed after it was built; it is removed" in said
    assert stored.read_text() == "kernel of unstable\n"


def test_two_checkouts_at_once_build_once(checkout: Checkout, tmp_path: Path) -> None:
    other = Checkout(tmp_path, "other")
    both = [one.start(BUILD_SECONDS="1") for one in (checkout, other)]
    said = [process.communicate(timeout=60)[0] for process in both]

    assert [process.returncode for process in both] == [0, 0], said
    assert checkout.builds() == ["unstable"]
    assert checkout.kernel.read_text() == other.kernel.read_text()


def test_a_source_that_the_recipe_does_not_fit_is_passed_over(checkout: Checkout) -> None:
    status, said = checkout.make(UNFIT="unstable")

    assert (status, checkout.builds()) == (0, ["testing"])
    assert "fix.patch does not apply" in said
    assert "of Debian testing" in checkout.origin.read_text()


def test_no_source_that_fits_is_an_error_that_says_what_follows(checkout: Checkout) -> None:
    status, said = checkout.make(UNFIT="unstable testing")

    assert status == 1
    assert "E: no suite trixie-backports" in said
    assert "machines run with KVM or emulated instead. PYRO_KERNEL_SUITE names other suites." in said
    assert not checkout.kernel.exists()


def test_a_kernel_that_is_too_old_is_refused(checkout: Checkout) -> None:
    status, said = checkout.make(PYRO_KERNEL_SUITE="trixie")

    assert (status, checkout.builds()) == (1, [])
    assert "Debian trixie has Linux 6.12; 6.19 or newer is needed" in said


def test_with_cached_nothing_is_built(checkout: Checkout) -> None:
    status, said = checkout.make("--cached")

    assert (status, checkout.builds()) == (1, [])
    assert "'make uml-kernel' builds it" in said


def test_the_recipe_says_that_a_patch_does_not_apply(tmp_path: Path) -> None:
    (tmp_path / "linux").mkdir()
    subprocess.run(["tar", "-cJf", "linux-source-9.tar.xz", "linux"], cwd=tmp_path, check=True, timeout=30)
    argv = [ROOT / "guest/uml/build", tmp_path / "linux-source-9.tar.xz", tmp_path / "tree", tmp_path / "kernel"]
    done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=60)

    assert done.returncode == 3
    assert ".patch does not apply to linux-source-9.tar.xz" in done.stderr
