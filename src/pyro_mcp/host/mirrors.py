"""Where this host gets packages from, as its own tools are set up."""

from __future__ import annotations

import configparser
import os
from pathlib import Path


def pip_index() -> str | None:
    """The package index that pip uses here, when one was chosen; it may hold a name and a password."""
    return _pip_setting("index-url")


def _pip_setting(name: str) -> str | None:
    """A setting of pip: its environment variable, or the last configuration file that has it, in pip's own order."""
    given = os.environ.get(f"PIP_{name.upper().replace('-', '_')}")
    if given:
        return given.split()[0]
    found = None
    for path in _pip_files():
        parser = configparser.RawConfigParser(strict=False)
        try:
            parser.read(path)
        except (configparser.Error, UnicodeDecodeError, OSError):
            continue
        for section in ("global", "install"):
            found = parser.get(section, name, fallback=found)
    return found.split()[0] if found and found.split() else None


def _pip_files() -> list[Path]:
    config = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    shared = [Path(folder) / "pip/pip.conf" for folder in os.environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":")]
    files = [*shared, Path("/etc/pip.conf"), Path.home() / ".pip/pip.conf", Path(config) / "pip/pip.conf"]
    given = os.environ.get("PIP_CONFIG_FILE")
    return [*files, Path(given)] if given else files
