"""Where this host gets packages from, as its own tools are set up."""

from __future__ import annotations

import os
import re
import urllib.parse
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Mirrors:
    """The package mirrors that were chosen on this host, without names and passwords; empty for the public ones."""

    pip: str = ""
    pip_extra: tuple[str, ...] = ()
    npm: str = ""

    @property
    def addresses(self) -> list[str]:
        return [one for one in (self.pip, *self.pip_extra, self.npm) if one]


def host_mirrors() -> Mirrors:
    """What pip and npm are set up to use here; what is no http address is of no use elsewhere and left out."""
    pip = _public((_pip_setting("index-url") or "").split())
    extra = _public((_pip_setting("extra-index-url") or "").split())
    npm = _public([_npm_registry() or ""])
    return Mirrors(pip[0] if pip else "", tuple(extra), npm[0] if npm else "")


def without_credentials(address: str) -> str:
    """An address without the name and password in it."""
    parts = urllib.parse.urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def pip_index() -> str | None:
    """The package index that pip uses here, when one was chosen; it may hold a name and a password."""
    found = (_pip_setting("index-url") or "").split()
    return found[0] if found else None


def _pip_setting(name: str) -> str | None:
    """A setting of pip: its environment variable, or the last configuration file that has it, in pip's own order."""
    given = os.environ.get(f"PIP_{name.upper().replace('-', '_')}")
    if given:
        return given
    import configparser  # noqa: PLC0415 - few commands need it

    found = None
    for path in _pip_files():
        parser = configparser.RawConfigParser(strict=False)
        try:
            parser.read(path)
        except (configparser.Error, UnicodeDecodeError, OSError):
            continue
        for section in ("global", "install"):
            found = parser.get(section, name, fallback=found)
    return found


def _pip_files() -> list[Path]:
    config = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    shared = [Path(folder) / "pip/pip.conf" for folder in os.environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":")]
    files = [*shared, Path("/etc/pip.conf"), Path.home() / ".pip/pip.conf", Path(config) / "pip/pip.conf"]
    given = os.environ.get("PIP_CONFIG_FILE")
    return [*files, Path(given)] if given else files


def _npm_registry() -> str | None:
    """The registry of npm: its environment variable, the user's file, the machine's."""
    for name in ("npm_config_registry", "NPM_CONFIG_REGISTRY"):
        if os.environ.get(name):
            return os.environ[name]
    for path in (Path.home() / ".npmrc", Path("/etc/npmrc"), Path("/usr/etc/npmrc"), Path("/usr/local/etc/npmrc")):
        try:
            lines = path.read_text().splitlines()
        except (OSError, UnicodeDecodeError):
            continue
        for line in reversed(lines):
            if found := re.fullmatch(r"\s*registry\s*=\s*(\S+)\s*", line):
                return found[1].strip("\"'")
    return None


def _public(addresses: list[str]) -> list[str]:
    """The http addresses among these, without credentials."""
    found = []
    for address in addresses:
        try:
            if urllib.parse.urlsplit(address).scheme in ("http", "https"):
                found.append(without_credentials(address))
        except ValueError:
            continue
    return found
