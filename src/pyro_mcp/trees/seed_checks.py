"""Check a folder before it becomes a seed: find ignored files, likely secrets and missing git data."""

from __future__ import annotations

import os
import posixpath
import re
import shutil
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from pyro_mcp.errors import PyroError
from pyro_mcp.trees.git import Repository, bare_repository

_MAX_BYTES = 256 * 1024
_LIKELY_SECRETS = (
    b".env", b".env.*", b".netrc", b".npmrc", b".pypirc", b".git-credentials", b".htpasswd", b"id_rsa", b"id_ecdsa",
    b"id_ed25519", b"*.key", b"*.p12", b"*.pfx", b"*.kdbx", b"*.tfvars", b"credentials.json", b"service-account*.json",
    b"secrets.yml", b"secrets.yaml", b"*/.aws/credentials", b"*/.docker/config.json", b"*/.kube/config",
)  # fmt: skip
_EXAMPLES = (b"*.example", b"*.sample", b"*.template", b"*.dist")
_GIT_FILE = re.compile(rb"gitdir: (.+)\n?")
_SUBMODULE = re.compile(rb"^\s*path\s*=\s*(.+?)\s*$", re.MULTILINE)


def may_hold_secrets(path: bytes) -> bool:
    """Return whether files of this name usually hold passwords, tokens or keys."""
    name = posixpath.basename(path)
    if any(fnmatchcase(name, pattern) for pattern in _EXAMPLES):
        return False
    return any(fnmatchcase(b"/" + path if b"/" in pattern else name, pattern) for pattern in _LIKELY_SECRETS)


def ignored_paths(source: Path) -> set[bytes] | None:
    """Return the paths in a folder that git ignores and does not track, or None when git fails.

    A folder in which everything is ignored is returned alone. `source` may be hostile: git reads its `.gitignore` files
    and its index, and none of its settings.
    """
    if not any(os.path.lexists(source / name) for name in (".git", ".gitignore")):
        return set()
    data = _git_data(source)
    try:
        with bare_repository() as repository:
            if data is not None and (data / "index").is_file():
                shutil.copyfile(data / "index", repository.folder / "index")
            repository.exclude(_first_bytes(source / ".git/info/exclude").split(b"\n"))
            return set(_listed(repository, source))
    except (PyroError, OSError):
        return None


def remarks(source: Path, git_files: list[bytes]) -> Iterator[str]:
    """Yield a remark for each git worktree or submodule whose data is outside `source`.

    `git_files` are the paths of the `.git` files in `source`.
    """
    for path in git_files:
        data = _git_data(source / os.fsdecode(posixpath.dirname(path)))
        if data is not None and not data.resolve().is_relative_to(source.resolve()):
            name = os.fsdecode(posixpath.dirname(path)) or "this git worktree"
            yield f"the git data of {name} is in {data}, outside the seed: git does not work there in /workspace"
    for found in _SUBMODULE.findall(_first_bytes(source / ".gitmodules")):
        folder = source / os.fsdecode(found)
        if ".." not in folder.parts and (not folder.is_dir() or not any(folder.iterdir())):
            yield f"the submodule {os.fsdecode(found)} is not checked out, so its folder is empty"


def _listed(repository: Repository, source: Path) -> Iterator[bytes]:
    words = ("ls-files", "--others", "--ignored", "--exclude-standard", "--directory", "-z")
    for path in repository.git(*words, work_tree=source).split(b"\0")[:-1]:
        yield path.removesuffix(b"/")


def _git_data(folder: Path) -> Path | None:
    """Return the folder that holds the git data of a checkout."""
    path = folder / ".git"
    if path.is_dir():
        return path
    found = _GIT_FILE.fullmatch(_first_bytes(path))
    return folder / os.fsdecode(found[1]) if found else None


def _first_bytes(path: Path) -> bytes:
    try:
        if not path.is_file():
            return b""
        with open(path, "rb") as file:
            return file.read(_MAX_BYTES)
    except OSError:
        return b""
