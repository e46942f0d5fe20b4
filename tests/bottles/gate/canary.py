"""A program that shows whether it was started, and content that names it wherever git could start it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HOOKS = (
    "applypatch-msg", "commit-msg", "fsmonitor-watchman", "post-checkout", "post-commit", "post-index-change",
    "post-merge", "post-receive", "post-rewrite", "post-update", "pre-auto-gc", "pre-commit", "pre-push", "pre-rebase",
    "pre-receive", "prepare-commit-msg", "proc-receive", "push-to-checkout", "reference-transaction", "update",
)  # fmt: skip


def settings(canary: Path) -> str:
    """Settings with which every git that reads them starts the canary."""
    return f"""\
[core]
\thooksPath = hooks
\tfsmonitor = {canary}
\tsshCommand = {canary}
\tgitProxy = {canary}
\tpager = {canary}
\teditor = {canary}
\taskPass = {canary}
\talternateRefsCommand = {canary}
[alias]
\tdiff = !{canary}
\tlog = !{canary}
\tpush = !{canary}
[diff]
\texternal = {canary}
[diff "evil"]
\tcommand = {canary}
\ttextconv = {canary}
[filter "evil"]
\tclean = {canary}
\tsmudge = {canary}
\tprocess = {canary}
[merge "evil"]
\tdriver = {canary}
[uploadpack]
\tpackObjectsHook = {canary}
[credential]
\thelper = !{canary}
[gpg]
\tprogram = {canary}
[interactive]
\tdiffFilter = {canary}
[log]
\tshowSignature = true
"""


@dataclass
class Canary:
    """A program that writes into a pipe when it runs: that works also in a sandbox where all files are read-only."""

    path: Path
    pipe: int

    def sang(self) -> bool:
        """Return whether it has run since the last call."""
        try:
            return bool(os.read(self.pipe, 65536))
        except BlockingIOError:
            return False


@contextmanager
def canary_in(folder: Path) -> Iterator[Canary]:
    """Make the program in a folder."""
    os.mkfifo(folder / "pipe")
    pipe = os.open(folder / "pipe", os.O_RDWR | os.O_NONBLOCK)
    path = folder / "canary"
    path.write_text(f"#!/bin/sh\necho ran >{folder}/pipe\ncat 2>/dev/null\nexit 0\n")
    path.chmod(0o755)
    try:
        yield Canary(path, pipe)
    finally:
        os.close(pipe)


def evil_files(canary: Canary) -> dict[str, str]:
    content = canary.path.read_text()
    hooks = {f"{folder}/{name}": content for folder in ("hooks", ".githooks", ".husky") for name in HOOKS}
    named = dict.fromkeys((".gitconfig", "config", ".git-config", "gitconfig", ".mailmap", "info/attributes"), "")
    named |= {name: settings(canary.path) for name in (".gitconfig", "config", ".git-config", "gitconfig")}
    return {
        **hooks,
        **named,
        ".gitattributes": "*.c diff=evil\n*.md diff=evil text\n",
        "a.c": "int x;\n",
        "b.md": "x\n",
    }
