"""Find the package mirrors that pip and npm on this host are configured to use."""

from __future__ import annotations

import os
import re
import urllib.parse
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Mirrors:
    """The http(s) addresses of the package mirrors on this host, without credentials; "" means the public one."""

    pip: str = ""
    pip_extra: tuple[str, ...] = ()
    npm: str = ""

    @property
    def addresses(self) -> list[str]:
        return [one for one in (self.pip, *self.pip_extra, self.npm) if one]


def host_mirrors() -> Mirrors:
    """Return the mirrors of pip and npm; addresses that are not http(s) are left out."""
    pip = _public((_pip_setting("index-url") or "").split())
    extra = _public((_pip_setting("extra-index-url") or "").split())
    npm = _public([npm_registry() or ""])
    return Mirrors(pip[0] if pip else "", tuple(extra), npm[0] if npm else "")


def without_credentials(address: str) -> str:
    """Return `address` without its user name and password."""
    parts = urllib.parse.urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def pip_index() -> str | None:
    """Return the package index that pip is configured to use, None for none; it may hold a user name and password."""
    found = (_pip_setting("index-url") or "").split()
    return found[0] if found else None


def _pip_setting(name: str) -> str | None:
    """Return a setting of pip from its environment variable, or the last of its configuration files that has it."""
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


def npm_registry() -> str | None:
    """Return the registry that npm is configured to use, None for none; it may hold a user name and password."""
    for name in ("npm_config_registry", "NPM_CONFIG_REGISTRY"):
        if os.environ.get(name):
            return os.environ[name]
    return _npmrc_setting("registry")


def npm_token(registry: str) -> str | None:
    """Return the token that npm is configured to send to a registry, None for none."""
    parts = urllib.parse.urlsplit(registry)
    return _npmrc_setting(f"//{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}/:_authToken")


def _npmrc_setting(name: str) -> str | None:
    """Return a setting from the user's or the host's npmrc; ${NAME} in it stands for an environment variable."""
    for path in (Path.home() / ".npmrc", Path("/etc/npmrc"), Path("/usr/etc/npmrc"), Path("/usr/local/etc/npmrc")):
        try:
            lines = path.read_text().splitlines()
        except (OSError, UnicodeDecodeError):
            continue
        for line in reversed(lines):
            if found := re.fullmatch(rf"\s*{re.escape(name)}\s*=\s*(\S+)\s*", line):
                return os.path.expandvars(found[1].strip("\"'"))
    return None


def _public(addresses: list[str]) -> list[str]:
    """Return the http(s) addresses among `addresses`, without credentials."""
    found = []
    for address in addresses:
        try:
            if urllib.parse.urlsplit(address).scheme in ("http", "https"):
                found.append(without_credentials(address))
        except ValueError:
            continue
    return found
