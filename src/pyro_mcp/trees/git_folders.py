"""Decide which files of a guest's git repositories an export includes: data, never what git would run or follow.

Git takes programs from many places: settings (`core.fsmonitor`, `core.hooksPath`, `alias.*`, filters, diff and merge
drivers, …), hooks, `include.path`, other repositories that a `.git` file, `commondir` or `alternates` names, the to-do
list of a rebase, names in the index. So this is an allow list. It has no exception for files that are unchanged since
the seed: a hook or a setting of the seed may run a file that the guest has changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Literal

from pyro_mcp.errors import PyroError
from pyro_mcp.trees.git import bare_repository, is_refused_name

Verdict = Literal["keep", "config", "drop", "drop silently"]

_FOLDERS = re.compile(rb"objects(/pack|/info|/[0-9a-f]{2})?|info|(refs|logs)(/.+)?", re.DOTALL)
_FILES = re.compile(
    rb"HEAD|ORIG_HEAD|packed-refs|shallow|description|info/exclude|(refs|logs)/.+"
    rb"|objects/[0-9a-f]{2}/[0-9a-f]{38,62}|objects/pack/pack-[0-9a-f]{40,64}\.(pack|idx|keep)",
    re.DOTALL,
)
# What git makes again when it is missing, and the samples that it puts into each repository.
_REPLACEABLE = re.compile(
    rb"index|hooks|hooks/[^/]*\.sample|branches|COMMIT_EDITMSG|FETCH_HEAD|gc\.(log|pid)|.*\.lock|info/refs|objects/info/(packs|commit-graph.*)"
    rb"|objects/pack/(.*\.(rev|bitmap|mtimes)|multi-pack-index.*)",
    re.DOTALL,
)

_SETTINGS = re.compile(
    r"core\.(repositoryformatversion|filemode|bare|symlinks|ignorecase|precomposeunicode|logallrefupdates|autocrlf|eol"
    r"|safecrlf|quotepath)|extensions\.objectformat|user\.(name|email)|pull\.rebase"
    r"|(remote\..+\.(url|pushurl|fetch)|branch\..+\.(remote|merge|rebase))",
    re.DOTALL,
)
# For settings whose value could name a program or a folder: `ext::…`, `helper::…`, or a path in the tree.
_CHECKED = {
    "url": re.compile(r"(https?|ssh|git)://[^\s]+|[\w.-]+@[\w.-]+:(?!:)[^\s]+"),
    "remote": re.compile(r"\.|\w[\w.-]*"),
}
_CHECKED["pushurl"] = _CHECKED["url"]
_UNREADABLE = "all, because git cannot read the file"
_NEW_CONFIG = b"[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n\tlogallrefupdates = true\n"


def git_folder(path: bytes) -> tuple[bytes, bytes] | None:
    """Return the path of the first `.git` in a path, and the path below it; None if there is no `.git`."""
    if b"git" not in path.lower():
        return None
    names = path.split(b"/")
    for index, name in enumerate(names):
        if is_refused_name(name):
            return b"/".join(names[: index + 1]), b"/".join(names[index + 1 :])
    return None


def verdict(folder: bytes, below: bytes, kind: str) -> Verdict:
    """Return what an export does with the path `below` the `.git` at `folder`; "" is the folder itself."""
    if not folder.endswith(b".git") or folder[-5:-4] not in (b"", b"/"):
        return "drop"  # a name that equals .git only on some file systems
    if kind == "d" and (not below or _FOLDERS.fullmatch(below)):
        return "keep"
    if kind == "f" and _FILES.fullmatch(below):
        return "keep"
    if kind == "f" and below == b"config":
        return "config"
    return "drop silently" if below and _REPLACEABLE.fullmatch(below) else "drop"


def safe_config(text: bytes) -> tuple[bytes, list[str]]:
    """Return a repository's config with only the settings that are data, and the names of the others."""
    settings, left_out = git_settings(text)
    return (git_config_text(settings), left_out) if settings or left_out != [_UNREADABLE] else (_NEW_CONFIG, left_out)


def git_settings(text: bytes) -> tuple[list[tuple[str, str]], list[str]]:
    """Return the settings of a repository's config that are data, and the names of the others."""
    try:
        with bare_repository() as repository:
            listed = repository.git("config", "--file", "-", "--no-includes", "--null", "--list", stdin=text)
    except PyroError:
        return [], [_UNREADABLE]
    settings: list[tuple[str, str]] = []
    left_out: list[str] = []
    for one in listed.decode(errors="surrogateescape").split("\0")[:-1]:
        name, has_value, value = one.partition("\n")
        if has_value and _is_data(name, value):
            settings.append((name, value))
        else:
            left_out.append(name)
    return settings, sorted(set(left_out))


def git_config_text(settings: Sequence[tuple[str, str]]) -> bytes:
    """Return settings of git as the text of a config file."""
    lines = [line for name, value in settings for line in _config_lines(name, value)]
    return "".join(lines).encode(errors="surrogateescape")


def _is_data(name: str, value: str) -> bool:
    check = _CHECKED.get(name.rpartition(".")[2])
    printable = not any(ord(character) < 32 or ord(character) == 127 for character in name + value)
    return printable and bool(_SETTINGS.fullmatch(name)) and (check is None or bool(check.fullmatch(value)))


def _config_lines(name: str, value: str) -> Iterator[str]:
    section, _, rest = name.partition(".")
    subsection, _, variable = rest.rpartition(".")
    yield f"[{section} {_quoted(subsection)}]\n" if subsection else f"[{section}]\n"
    yield f"\t{variable} = {_quoted(value)}\n"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def looks_like_a_repository(names: set[bytes]) -> bool:
    """Return whether git recognises a folder with these names in it as a repository, whatever its own name is."""
    return b"HEAD" in names and not names.isdisjoint({b"refs", b"commondir"})
