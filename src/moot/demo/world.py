"""The folder of a demonstration: its project, its home, its processes, and how all of it is removed.

All processes that belong to it have its home as HOME, so that they are found also after their parents were killed.
"""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from moot.agents.tmux import socket_name
from moot.agents.tmux_socket import remove_dead_socket
from pyro_mcp.errors import DeadlineExceeded, HostCommandFailed
from pyro_mcp.host.files import abandoned_scratch, private_directory, scratch_path
from pyro_mcp.host.process import child_environment, run
from pyro_mcp.host.process_identity import Identity, identify, kill

_START_SECONDS, _VERB_SECONDS, _END_SECONDS = 60.0, 180.0, 20.0
_ADDRESS = re.compile(rb"^serving (http://\S+)", re.MULTILINE)
_TOKEN = re.compile(rb"mootup_pat_\S+")
_APPROVED_BY = 20  # Claude Code remembers an accepted API key by this many of its last characters


@dataclass(frozen=True)
class World:
    """One demonstration's folder."""

    folder: Path
    claude: Path

    @property
    def project(self) -> Path:
        return self.folder / "project"

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def environ(self) -> dict[str, str]:
        """Return the environment of all programs of the demonstration; it has no key and no setting of the user."""
        return child_environment(
            {
                "HOME": str(self.home),
                "PATH": os.pathsep.join([str(self.folder / "bin"), os.environ.get("PATH", os.defpath)]),
                "TMPDIR": str(self.folder / "tmp"),
                "MOOT_SECRETS_DIR": str(self.folder / "secrets"),
                "TERM": "xterm-256color",
                "GIT_CONFIG_GLOBAL": str(self.home / ".gitconfig"),
                **{f"XDG_{name}_HOME": str(self.home / name.lower()) for name in ("DATA", "STATE", "CACHE", "CONFIG")},
            }
        )

    def make(self, files: Mapping[str, str], keys: Mapping[str, str]) -> None:
        """Make the folders, the project's repository, and what Claude Code would ask at its first start."""
        for name in ("home", "project", "bin", "secrets", "tmp"):
            (self.folder / name).mkdir(mode=0o700)
        (self.folder / "bin/claude").symlink_to(self.claude)
        for name, key in keys.items():
            (self.folder / "secrets" / name).write_text(key)
        approved = {"approved": [key[-_APPROVED_BY:] for key in keys.values()], "rejected": []}
        (self.home / ".claude.json").write_text(json.dumps({"customApiKeyResponses": approved}))
        (self.home / ".gitconfig").write_text("[user]\nname = moot demo\nemail = demo@localhost\n[gc]\nauto = 0\n")
        for name, text in files.items():
            (self.project / name).write_text(text)
        self.git("init", "-q", "-b", "main")
        self.commit("A program with a fault")

    def git(self, *words: str) -> None:
        """Run git in the project."""
        run(["git", "-C", self.project, *words], deadline_seconds=_VERB_SECONDS, extra_environment=self.environ())

    def commit(self, subject: str) -> None:
        """Commit everything in the project."""
        self.git("add", "--all")
        self.git("commit", "-qm", subject)

    def moot(self, *words: str, given: str = "") -> bytes:
        """Run a verb of moot in the project, as a user would; return its output. Raises `HostCommandFailed`."""
        ended = subprocess.run(
            [sys.executable, "-P", "-m", "moot", *words],
            cwd=self.project,
            env=self.environ(),
            input=given.encode(),
            capture_output=True,
            timeout=_VERB_SECONDS,
            check=False,
            start_new_session=True,
        )
        if ended.returncode:
            said = (ended.stderr or ended.stdout).decode(errors="replace").strip()
            raise HostCommandFailed(f"'moot {' '.join(words)}' ended with exit code {ended.returncode}: {said}")
        return ended.stdout

    @contextmanager
    def server(self) -> Iterator[tuple[str, str]]:
        """Run 'moot serve' while the block runs; yields its address and the token of its first user."""
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "moot", "serve", "--port", "0", "--log-level", "error"],
            cwd=self.folder,
            env=self.environ(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            yield _announced(process)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            assert process.stdout is not None
            process.stdout.close()


def _announced(process: subprocess.Popen[bytes]) -> tuple[str, str]:
    """Return the address and the token that a starting server prints."""
    assert process.stdout is not None
    end, said = time.monotonic() + _START_SECONDS, b""
    while (left := end - time.monotonic()) > 0:
        if not select.select([process.stdout], [], [], left)[0]:
            break
        piece = os.read(process.stdout.fileno(), 4096)
        said += piece
        address, token = _ADDRESS.search(said), _TOKEN.search(said)
        if address and token:
            return address[1].decode(), token[0].decode()
        if not piece:
            raise HostCommandFailed(f"'moot serve' ended: {said.decode(errors='replace')}")
    raise DeadlineExceeded(f"'moot serve' did not start within {_START_SECONDS:g} s")


@contextmanager
def new_world(claude: Path) -> Iterator[World]:
    """Make a folder for a demonstration while the block runs; what killed ones have left is removed first."""
    base = private_directory(Path(tempfile.gettempdir(), f"moot-demo-{os.getuid()}"))
    for left in abandoned_scratch(base):
        remove(left)
    folder = scratch_path(base)
    folder.mkdir(mode=0o700)
    try:
        yield World(folder, claude)
    finally:
        remove(folder)
        with suppress(OSError):
            base.rmdir()


def remove(folder: Path) -> None:
    """End every process of a demonstration, and remove its folder."""
    end = time.monotonic() + _END_SECONDS
    while found := processes_of(folder):
        for one in found:
            kill(one)
        if time.monotonic() > end:
            raise DeadlineExceeded(f"processes of {folder} do not end: {', '.join(str(one.pid) for one in found)}")
        time.sleep(0.02)
    remove_dead_socket(socket_name(str((folder / "project").resolve())))
    shutil.rmtree(folder, ignore_errors=True)


def processes_of(folder: Path) -> list[Identity]:
    """Return the processes whose HOME is that of the demonstration in this folder."""
    mark, found = f"HOME={folder / 'home'}".encode(), []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            with suppress(OSError):
                environ = Path("/proc", entry, "environ").read_bytes().split(b"\0")
                if mark in environ and (identity := identify(int(entry))):
                    found.append(identity)
    return found
