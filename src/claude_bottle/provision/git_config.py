"""The settings of the git repositories in a copied folder, without what belongs to this host.

A repository's settings may hold passwords, in addresses and in header fields, and name programs of this host. So these
files are left out of the copy, and new files take their place. These hold only settings that are data, and addresses
without user names and passwords. If the bottle has remotes, they replace the upstreams.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from claude_bottle.gate.remotes import Remote, guest_url, other_spellings, same_place
from pyro_mcp.trees import git_config_text, git_settings

_FILES = ("config", "config.worktree")
_LARGEST = 1 << 20
_USER_INFO = re.compile(r"(?<=://)[^/@\s]*@")
_REMOTE = re.compile(r"remote\.(?P<name>.+)\.(?P<key>[a-z]+)", re.DOTALL)
Settings = Sequence[tuple[str, str]]


def config_files(folder: Path) -> list[str]:
    """Return the settings files of all git repositories in a folder, also of its submodules, relative to it."""
    found = []
    for where, folders, files in os.walk(folder):
        inner = os.path.relpath(where, folder)
        parts = [] if inner == "." else inner.split(os.sep)
        if ".git" in parts:
            found += [os.path.join(inner, name) for name in files if name in _FILES]
        elif {"HEAD", "objects", "refs"}.issubset({*folders, *files}):  # a repository without a working tree
            found += [os.path.join("" if inner == "." else inner, name) for name in files if name in _FILES]
    return sorted(found)


def guest_config(path: Path, remotes: Sequence[Remote]) -> bytes:
    """Return the content of a settings file in the bottle; if there are `remotes`, its git reaches only these."""
    with open(path, "rb") as file:
        settings, _ = git_settings(file.read(_LARGEST))
    return git_config_text(list(_rewritten(settings, remotes)))


def gate_settings(remotes: Sequence[Remote]) -> list[str]:
    """Return the lines of git's settings in the bottle that lead all addresses of an upstream to the gate."""
    lines = []
    for remote in remotes:
        lines.append(f'[url "{guest_url(remote.name)}"]')
        lines += [f"\tinsteadOf = {_quoted(one)}" for one in other_spellings(remote.url)]
    return lines


def _rewritten(settings: Settings, remotes: Sequence[Remote]) -> Iterator[tuple[str, str]]:
    """Yield the settings with the addresses of the gate, without those of remotes that are not declared."""
    places = {same_place(one.url): one.name for one in remotes}
    urls = {
        match["name"]: value for name, value in settings if (match := _REMOTE.fullmatch(name)) and match["key"] == "url"
    }
    kept: set[str] = set()
    for name, value in settings:
        match = _REMOTE.fullmatch(name)
        if match is None:
            branch = re.fullmatch(r"branch\..+\.remote", name, re.DOTALL)
            if not (branch and remotes and value in urls and _declared(urls[value], places) is None):
                yield name, value
        elif not remotes:
            yield name, _USER_INFO.sub("", value) if match["key"] in ("url", "pushurl") else value
        elif (declared := _declared(urls.get(match["name"], ""), places)) and match["key"] != "pushurl":
            kept.add(declared)
            yield name, guest_url(declared) if match["key"] == "url" else value
    for remote in remotes:
        if remote.name not in kept and remote.name not in _names_kept(settings, places):
            yield f"remote.{remote.name}.url", guest_url(remote.name)
            yield f"remote.{remote.name}.fetch", f"+refs/heads/*:refs/remotes/{remote.name}/*"


def _names_kept(settings: Settings, places: dict[tuple[str, str], str]) -> set[str]:
    """Return the names of the folder's remotes that stay."""
    found = (
        (match["name"], value)
        for name, value in settings
        if (match := _REMOTE.fullmatch(name)) and match["key"] == "url"
    )
    return {name for name, value in found if _declared(value, places)}


def _declared(url: str, places: dict[tuple[str, str], str]) -> str | None:
    """Return the name of the declared remote that an address leads to; None for any other."""
    try:
        return places.get(same_place(url))
    except ValueError:
        return None


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
