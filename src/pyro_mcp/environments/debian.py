"""Build Debian root filesystems with mmdebstrap, from the mirrors that the host's apt uses."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pyro_mcp.environments.catalog import SUITE, Recipe
from pyro_mcp.environments.source import RootFilesystem, SourceKind
from pyro_mcp.environments.user_namespace import run_as_root
from pyro_mcp.errors import EnvironmentFailed, HostCommandFailed, InvalidRequest
from pyro_mcp.host.process import run
from pyro_mcp.host.programs import find_program
from pyro_mcp.host.progress import Progress

MIRROR_VARIABLE = "PYRO_DEBIAN_MIRROR"

_DEADLINE_SECONDS = 1800
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_ENVIRON = {
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
}
_EXCLUDED_FILES = (
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/lintian/*",
    "path-exclude=/usr/share/locale/*",
    "path-include=/usr/share/locale/locale.alias",
    "path-exclude=/usr/share/man/*",
)
# Remove the host's proxy settings, and passwords in mirror addresses. The package sources themselves are kept.
_REMOVE_HOST_SETTINGS = (
    'rm -f "$1/etc/apt/apt.conf.d/99mmdebstrap" "$1/etc/machine-id" "$1/var/lib/dbus/machine-id"',
    'sed -i "s#://[^/ ]*@#://#" "$1/etc/apt/sources.list"',
)
_ADD_ACCOUNT = 'chroot "$1" useradd --create-home --user-group --shell=/bin/bash --uid={0.uid} {0.name}'
# Let pip and uv install system-wide: in a disposable machine Debian's packages need no protection from them.
_PYTHON_SETTINGS = {
    "etc/xdg/pip/pip.conf": "[global]\nbreak-system-packages = true\nroot-user-action = ignore\n",
    "etc/uv/uv.toml": "[pip]\nbreak-system-packages = true\n",
}
_PROGRESS = {
    "running apt-get update": ("reading Debian's package lists", 0.05),
    "downloading packages": ("downloading packages", 0.15),
    "extracting archives": ("unpacking the base system", 0.25),
    "installing essential": ("installing the base system", 0.35),
    "installing remaining": ("installing packages", 0.5),
    "cleaning package lists": ("cleaning up", 0.85),
}


class DebianSource:
    """Builds one recipe of the catalogue."""

    kind: SourceKind = "debian"
    version: str | None

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self.name = recipe.name
        self.version = recipe.version
        self.description = recipe.description
        self.packages = recipe.packages
        self.programs: Mapping[str, str] = recipe.programs

    def build(self, work: Path, progress: Progress) -> RootFilesystem:
        root = work / "root"
        mmdebstrap(
            [
                "--variant=minbase",
                f"--include={','.join(self.packages)}",
                *(f"--dpkgopt={option}" for option in _EXCLUDED_FILES),
                *(f"--customize-hook={script}" for script in _REMOVE_HOST_SETTINGS),
                *([f"--customize-hook={_ADD_ACCOUNT.format(account)}"] if (account := self._recipe.account) else []),
            ],
            root,
            progress,
        )
        (root / "etc/resolv.conf").unlink(missing_ok=True)
        (root / "etc/resolv.conf").write_text("")
        (root / "etc/hostname").unlink(missing_ok=True)
        (root / "etc/hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
        missing = self._add_wheels(root, work, progress)
        self._add_npm_packages(root, work, progress)
        metadata = {"origin": {"lacks": missing}} if missing else {}
        return RootFilesystem(root, self._recipe.version, dict(_ENVIRON), metadata)

    def _add_wheels(self, root: Path, work: Path, progress: Progress) -> list[str]:
        """Add the programs from Python wheels; return those that could not be downloaded, with the reason.

        The environment works without them.
        """
        if not self._recipe.wheels:
            return []
        from pyro_mcp.environments.wheels import (  # noqa: PLC0415 - slow to import, needed only here
            IndexUnavailable,
            install_programs,
        )

        missing = []
        for wheel in self._recipe.wheels:
            progress(f"adding {wheel.project}", 0.87)
            try:
                install_programs(wheel, root / "usr/local/bin", work)
            except IndexUnavailable as error:
                missing.append(f"{wheel.project}: {error}")
        for name, content in _PYTHON_SETTINGS.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(content)
        return missing

    def _add_npm_packages(self, root: Path, work: Path, progress: Progress) -> None:
        """Add the packages of npm's registry; raises `EnvironmentFailed` when one cannot be downloaded."""
        if not self._recipe.npm_packages:
            return
        from pyro_mcp.environments.npm_packages import install_package  # noqa: PLC0415 - needed only here

        for package in self._recipe.npm_packages:
            progress(f"adding {package.program or package.name} {package.version}", 0.88)
            install_package(package, root, work)


def mmdebstrap(options: Sequence[str], root: Path, progress: Progress) -> None:
    """Make a Debian root filesystem at `root`. apt verifies the signatures. Raises `EnvironmentFailed`, `NoSpace`."""
    try:
        run_as_root(
            [
                "mmdebstrap",
                "--mode=unshare",  # binds device nodes, does not create them; makes no user namespace when root
                "--format=directory",
                *([f"--keyring={_KEYRING}"] if _KEYRING.exists() else []),
                *(f"--aptopt={line}" for line in _host_apt_settings()),
                *options,
                SUITE,
                root,
                *_package_sources(),
            ],
            writable=root.parent,
            deadline_seconds=_DEADLINE_SECONDS,
            network=True,
            all_capabilities=True,
            on_stderr_line=_reporting(progress),
        )
    except HostCommandFailed as error:
        raise EnvironmentFailed(
            f"cannot build Debian {SUITE}: {error.message}",
            hint=f"check the network and the host's apt sources, or set {MIRROR_VARIABLE} to a Debian mirror;"
            f" if the host does not run Debian, install debian-archive-keyring\n{error.hint}",
        ) from error


def _reporting(progress: Progress) -> Callable[[str], None]:
    """Return a function that turns the lines of mmdebstrap into progress messages."""

    def on_line(line: str) -> None:
        for prefix, (message, fraction) in _PROGRESS.items():
            if line.startswith(f"I: {prefix}"):
                progress(message, fraction)

    return on_line


def _package_sources() -> list[str]:
    """Return lines for sources.list; with none, mmdebstrap uses Debian's public archive."""
    mirror = os.environ.get(MIRROR_VARIABLE)
    if mirror:
        if not re.fullmatch(r"https?://[!-~]+", mirror):
            raise InvalidRequest(f"{MIRROR_VARIABLE} is not the http(s) URL of a mirror: {mirror!r}")
        return [f"deb {mirror} {SUITE} main", f"deb {mirror} {SUITE}-updates main"]
    archives = _host_archives()
    if "Debian" not in archives or "Debian-Security" not in archives:
        return []
    main = archives["Debian"]
    return [
        f"deb {main} {SUITE} main",
        f"deb {main} {SUITE}-updates main",
        f"deb {archives['Debian-Security']} {SUITE}-security main",
    ]


def _host_archives() -> dict[str, str]:
    """Return the URLs of the archives that the host's apt uses, by label ("Debian", "Debian-Security")."""
    if find_program("apt-get") is None:
        return {}
    listed = run(["apt-get", "indextargets", "--format", "$(LABEL) $(REPO_URI)"], deadline_seconds=60).stdout
    pairs = [line.split(" ") for line in listed.decode(errors="replace").splitlines()]
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2 and re.fullmatch(r"https?://[!-~]+", pair[1])}


def _host_apt_settings() -> list[str]:
    """Return the host's apt settings for reaching mirrors (proxies, certificates, date checks) as apt.conf lines."""
    if find_program("apt-config") is None:
        return []
    dumped = run(["apt-config", "dump"], deadline_seconds=60).stdout.decode(errors="replace")
    wanted = re.compile(r'Acquire::(?:https?::.+|Check-Date|Check-Valid-Until) "[^"]+";')
    return [line for line in dumped.splitlines() if wanted.fullmatch(line)]
