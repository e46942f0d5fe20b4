"""Git on the host: in a sandbox for what a guest sent, and with the user's credentials for an upstream.

What a guest sent is hostile: objects, names, and settings in files of its tree. So git gets only our settings, runs no
hook, and reads no work tree. `Repository.git` runs git without a network, in namespaces where only the repositories
exist, with limits on time and memory. `upstream_git` needs the network, the user's keys and the user's credential
helpers; git then sees the host's files, but can write only to the named folders.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pyro_mcp.errors import HostCommandFailed
from pyro_mcp.host.files import private_directory
from pyro_mcp.host.process import Completed, Limits, run
from pyro_mcp.host.programs import require_program

_MIB = 1 << 20
_SECONDS = 120.0
# Some KB of objects can make git use gigabytes.
_LIMITS = Limits(memory_bytes=2048 * _MIB, cpu_seconds=90, file_bytes=1024 * _MIB)
_UPSTREAM_LIMITS = Limits(memory_bytes=8192 * _MIB, cpu_seconds=600, file_bytes=4096 * _MIB)
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc/ld.so.cache", "/nix/store")
_HEAD = "ref: refs/heads/main\n"
_CONFIG = """\
[core]
\trepositoryFormatVersion = 0
\tbare = true
\tattributesFile = /dev/null
\texcludesFile = /dev/null
\thooksPath = /dev/null
\tfsmonitor = false
\tlogAllRefUpdates = false
\tquotePath = true
[gc]
\tauto = 0
[maintenance]
\tauto = false
[transfer]
\tfsckObjects = true
\tunpackLimit = 1
[uploadpack]
\tallowFilter = true
\thideRefs = refs/held
[uploadpackfilter]
\tallow = false
[uploadpackfilter "blob:none"]
\tallow = true
[uploadpackfilter "blob:limit"]
\tallow = true
[uploadpackfilter "tree"]
\tallow = true
"""
# Faults that git checks for, and which old and harmless histories have.
_OLD_FAULTS = ("zeroPaddedFilemode", "missingSpaceBeforeDate", "badTimezone", "missingEmail", "badDate")
_ENVIRONMENT = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_PROTOCOL_FROM_USER": "0",
    "GIT_ASKPASS": "",
    "SSH_ASKPASS": "",
    "PAGER": "cat",
}
# The user's settings that say how an upstream is reached. No other takes effect: hooks, filters, aliases, url.*.
_ACCESS = re.compile(r"(credential|http)\..+|core\.sshcommand|ssh\.variant", re.DOTALL)
_SAFE = re.compile(r"safe\.directory")


@dataclass(frozen=True)
class Repository:
    """A bare repository of the gate, whose objects may be completed by those of another one, `base`."""

    folder: Path
    base: Path | None = None

    @classmethod
    def create(cls, folder: Path, base: Path | None = None) -> Repository:
        """Make an empty repository; `git init` would copy a template of this host's."""
        private_directory(folder)
        for name in ("objects/info", "objects/pack", "refs/heads"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        if base is not None:
            (folder / "objects/info/alternates").write_text(f"{base}/objects\n")
        (folder / "config").write_text(_CONFIG + _fetch_checks())
        (folder / "HEAD").write_text(_HEAD)
        return cls(folder, base)

    def git(
        self,
        *arguments: str,
        stdin: bytes | IO[bytes] | None = None,
        on_stdout: Callable[[bytes], object] | None = None,
        protocol: str = "",
        seconds: float = _SECONDS,
    ) -> bytes:
        """Run one git command in the sandbox; return its output. Raises `HostCommandFailed`, `DeadlineExceeded`."""
        environment = {**_ENVIRONMENT, "GIT_DIR": str(self.folder), "HOME": "/", "GIT_ALLOW_PROTOCOL": ""}
        if protocol:
            environment["GIT_PROTOCOL"] = protocol
        readable = [self.base] if self.base is not None else []
        argv = [*sandbox(readable, [self.folder]), require_program("git"), *arguments]
        done = run(
            argv,
            deadline_seconds=seconds,
            stdin=stdin,
            extra_environment=environment,
            on_stdout=on_stdout,
            limits=_LIMITS,
        )
        return done.stdout

    def succeeds(self, *arguments: str) -> bool:
        """Return whether a git command, which answers by its exit code, ends with 0."""
        try:
            self.git(*arguments)
        except HostCommandFailed:
            return False
        return True

    def refs(self) -> dict[str, str]:
        """Return the object that each branch and tag names."""
        listed = self.git("for-each-ref", "--format=%(objectname) %(refname)", "refs/heads", "refs/tags").decode()
        return {name: id_ for id_, _, name in (line.partition(" ") for line in listed.splitlines())}


def sandbox(readable: Sequence[Path], writable: Sequence[Path]) -> list[str | Path]:
    """Return the start of a command line that runs a program without a network, with only these folders and /usr."""
    words: list[str | Path] = [
        require_program("bwrap"), "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL",
        "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp",
    ]  # fmt: skip
    for path in _SYSTEM:
        if os.path.islink(path):
            words += ["--symlink", os.readlink(path), path]
        else:
            words += ["--ro-bind-try", path, path]
    for folder in readable:
        words += ["--ro-bind", folder, folder]
    for folder in writable:
        words += ["--bind", folder, folder]
    return [*words, "--chdir", "/", "--"]


def upstream_git(
    arguments: Sequence[str],
    *,
    folder: Path,
    transport: str,
    writable: Sequence[Path],
    seconds: float,
) -> Completed:
    """Run a git command in the gate's repository `folder` that talks to an upstream over one `transport`.

    It can write only to the folders `writable`, and reaches the network unless the upstream is local. It never asks for
    a password. Raises `HostCommandFailed` with git's message, `DeadlineExceeded`.
    """
    environment = {**_ENVIRONMENT, "GIT_DIR": str(folder), "GIT_ALLOW_PROTOCOL": transport}
    settings = {
        "core.hooksPath": "/dev/null",
        "core.fsmonitor": "false",
        "credential.interactive": "false",
        "submodule.recurse": "false",
        "http.followRedirects": "initial",
        "core.askPass": "",
    }
    pairs = [*access_settings(), *settings.items()] if transport != "file" else list(settings.items())
    environment |= _as_variables(pairs)
    if transport == "ssh":
        environment |= {name: os.environ[name] for name in ("SSH_AUTH_SOCK",) if name in os.environ}
        command = next((value for name, value in reversed(pairs) if name == "core.sshcommand"), "ssh")
        environment["GIT_SSH_COMMAND"] = f"{command} -oBatchMode=yes -oForwardAgent=no -oClearAllForwardings=yes"
    words: list[str | Path] = [
        require_program("bwrap"), "--die-with-parent", "--new-session", "--unshare-pid", "--unshare-ipc",
        *(["--unshare-net"] if transport == "file" else []),
        "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc",
        *(word for one in writable for word in ("--bind", one, one)),
        "--chdir", "/", "--",
    ]  # fmt: skip
    return run(
        [*words, require_program("git"), *arguments],
        deadline_seconds=seconds,
        extra_environment=environment,
        limits=_UPSTREAM_LIMITS,
    )


def local_program(name: str, *settings: str) -> str:
    """Return the command line of git's program `name` in a local upstream, whose hooks do not run."""
    safe = [f"safe.directory={value}" for _, value in _user_settings(_SAFE)]
    words = [word for one in ("core.hooksPath=/dev/null", *safe, *settings) for word in ("-c", one)]
    return shlex.join(["git", *words, name])


def access_settings() -> list[tuple[str, str]]:
    """Return the settings by which git reaches an upstream: the user's and the system's, in their order."""
    return _user_settings(_ACCESS)


def _user_settings(wanted: re.Pattern[str]) -> list[tuple[str, str]]:
    found = []
    for level in ("--system", "--global"):
        try:
            listed = run(["git", "config", level, "--includes", "--null", "--list"], deadline_seconds=_SECONDS).stdout
        except HostCommandFailed:  # there is no such file
            continue
        for line in listed.decode(errors="surrogateescape").split("\0"):
            name, separator, value = line.partition("\n")
            if separator and wanted.fullmatch(name):
                found.append((name, value))
    return found


def common_folder(path: str) -> Path:
    """Return the folder that has the objects and refs of a local repository. Raises `HostCommandFailed`."""
    settings = [*_user_settings(_SAFE), ("core.fsmonitor", "false")]
    environment = {**_ENVIRONMENT, **_as_variables(settings)}
    argv = ["git", "-C", path, "rev-parse", "--path-format=absolute", "--git-common-dir"]
    return Path(os.fsdecode(run(argv, deadline_seconds=_SECONDS, extra_environment=environment).stdout.rstrip(b"\n")))


def _as_variables(pairs: Sequence[tuple[str, str]]) -> Mapping[str, str]:
    """Return the variables that give git these settings: git-config(1), GIT_CONFIG_COUNT."""
    keys = {f"GIT_CONFIG_KEY_{number}": name for number, (name, _) in enumerate(pairs)}
    values = {f"GIT_CONFIG_VALUE_{number}": value for number, (_, value) in enumerate(pairs)}
    return {"GIT_CONFIG_COUNT": str(len(pairs)), **keys, **values}


def _fetch_checks() -> str:
    return '[fetch "fsck"]\n' + "".join(f"\t{name} = ignore\n" for name in _OLD_FAULTS)


def lines_of(output: bytes) -> Iterator[str]:
    """Yield the lines of git's output as text."""
    return iter(output.decode(errors="surrogateescape").splitlines())
