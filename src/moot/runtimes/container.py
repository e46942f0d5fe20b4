"""The devcontainer of a project: found by its label, and commands and files in it through `docker exec`."""

from __future__ import annotations

import json
import os
import posixpath
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from moot.agents.place import run_there
from pyro_mcp.errors import HostCommandFailed, HostToolMissing
from pyro_mcp.host.process import run
from pyro_mcp.host.programs import find_program

_OF_DOCKER = ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "DOCKER_API_VERSION")
_LABEL = "devcontainer.local_folder"
_METADATA = "devcontainer.metadata"
_SECONDS, _BUILD_SECONDS = 60.0, 3600.0
CLI_HINT = "install it with: npm i -g @devcontainers/cli"
DOCKER_HINT = "install it with: sudo apt-get install docker.io (or follow https://docs.docker.com/engine/install)"


@dataclass(frozen=True)
class Container:
    """A running devcontainer: its id, the user of its agents, and where a folder of this host is in it."""

    id: str
    user: str
    mounts: Mapping[str, str]
    """The folders of this host that it sees, and where."""

    def seen(self, path: str) -> str | None:
        """Return where a path of this host is in the container; None when it is not there."""
        for source, destination in sorted(self.mounts.items(), key=lambda one: -len(one[0])):
            if path == source or path.startswith(f"{source}/"):
                return posixpath.normpath(f"{destination}/{os.path.relpath(path, source)}")
        return None


def docker_variables() -> dict[str, str]:
    """Return the variables of this process that say which daemon `docker` uses."""
    return {name: os.environ[name] for name in _OF_DOCKER if name in os.environ}


class ContainerCommands:
    """Programs in a container, as the user of its agents."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self.environment: Mapping[str, str] = docker_variables()

    def argv(self, words: Sequence[str], *, terminal: bool = False) -> list[str]:
        options = ["-it", "-e", "TERM=xterm-256color"] if terminal else ["-i"]
        if terminal and "COLORTERM" in os.environ:
            options += ["-e", f"COLORTERM={os.environ['COLORTERM']}"]
        user = ["--user", self._container.user, "-e", "LANG=C.UTF-8"]
        return ["docker", "exec", *options, *user, self._container.id, *words]


class ContainerFiles:
    """Files in a container."""

    def __init__(self, commands: ContainerCommands) -> None:
        self._commands = commands

    def read(self, path: str) -> str | None:
        # 3: there is no such file.
        done = run_there(self._commands, ["sh", "-c", '[ -e "$1" ] || exit 3; cat -- "$1"', "sh", path], check=False)
        if done.exit_code == 3:
            return None
        if done.exit_code != 0:
            said = done.stderr.decode(errors="replace").strip()
            raise HostCommandFailed(f"cannot read {path} in the container: {said}")
        return done.stdout.decode(errors="replace")

    def write(self, path: str, text: str, mode: int = 0o600) -> None:
        run_there(self._commands, ["sh", "-euc", _WRITE, "sh", path, f"{mode:o}"], stdin=text.encode())

    def make_lock(self, path: str, stale_seconds: int) -> bool:
        # 3: somebody holds it.
        words = ["sh", "-euc", _LOCK, "sh", path, str(stale_seconds)]
        done = run_there(self._commands, words, check=False)
        if done.exit_code not in (0, 3):
            said = done.stderr.decode(errors="replace").strip()
            raise HostCommandFailed(f"cannot make the lock {path} in the container: {said}")
        return done.exit_code == 0

    def remove_lock(self, path: str) -> None:
        run_there(self._commands, ["rmdir", "--", path], check=False)


_LOCK = """
umask 077
mkdir -p -- "$(dirname -- "$1")"
made=$(stat -c %Y -- "$1" 2>/dev/null) || made=
[ -z "$made" ] || [ $(($(date +%s) - made)) -le "$2" ] || rmdir -- "$1" 2>/dev/null || true
mkdir -- "$1" 2>/dev/null || { [ -d "$1" ] && exit 3; exit 1; }
"""
_WRITE = """
umask 077
case "$1" in
    */.moot/*) target=$1 ;;  # moot makes no links there
    *) target=$(readlink -m -- "$1") ;;
esac
mkdir -p -- "$(dirname -- "$target")"
scratch="$target.$$"
trap 'rm -f -- "$scratch"' EXIT
cat >"$scratch"
chmod "$2" "$scratch"
mv -f -- "$scratch" "$target"
"""


def find_container(project: Path) -> Container | None:
    """Return the running devcontainer of a project's folder; None for none. Raises `HostToolMissing` without docker."""
    _require("docker", DOCKER_HINT)
    found = _docker("ps", "-q", "--filter", f"label={_LABEL}={project}").split()
    if not found:
        return None
    try:
        [shown] = json.loads(_docker("inspect", found[0]))
        mounts = {one["Source"]: one["Destination"] for one in shown["Mounts"] if one.get("Source")}
        return Container(shown["Id"], _user(shown["Config"]), mounts)
    except (ValueError, KeyError, TypeError) as error:
        raise HostCommandFailed(f"docker inspect {found[0]} has an unexpected answer: {error!r}") from error


def start_container(project: Path, say: Callable[[str], None]) -> Container:
    """Start the devcontainer of a project's folder, or find it running. It may have to be built."""
    _require("docker", DOCKER_HINT)
    _require("devcontainer", CLI_HINT)
    if find_container(project) is None:
        say(f"Building devcontainer in {project} (first launch can take 1-3 minutes)...")
    argv = ["devcontainer", "up", "--workspace-folder", str(project)]
    last: list[str] = []

    def heard(line: str) -> None:
        last[:] = [*last[-11:], line]

    done = run(
        argv,
        deadline_seconds=_BUILD_SECONDS,
        extra_environment=docker_variables(),
        on_stderr_line=heard,
        check=False,
    )
    if done.exit_code != 0:
        said = "\n".join(last) or done.stdout.decode(errors="replace").strip()
        raise HostCommandFailed(
            f"devcontainer up failed (exit code {done.exit_code}):\n{said}", hint=f"replay: {' '.join(argv)}"
        )
    found = find_container(project)
    if found is None:
        raise HostCommandFailed(
            "devcontainer up succeeded, but there is no running container", hint="look at 'docker ps -a'"
        )
    return found


def _user(config: Mapping[str, object]) -> str:
    """Return the user that devcontainer.json names for tools, else for the container, else that of the image."""
    labels = config.get("Labels")
    text = labels.get(_METADATA, "[]") if isinstance(labels, dict) else "[]"
    found = json.loads(str(text))
    entries = [one for one in (found if isinstance(found, list) else [found]) if isinstance(one, dict)]
    for name in ("remoteUser", "containerUser"):
        for one in reversed(entries):
            if isinstance(one.get(name), str):
                return str(one[name])
    return str(config.get("User") or "root")


def _docker(*words: str) -> str:
    argv = ["docker", *words]
    return run(argv, deadline_seconds=_SECONDS, extra_environment=docker_variables()).stdout.decode(errors="replace")


def _require(program: str, hint: str) -> None:
    if find_program(program) is None:
        raise HostToolMissing(f"the program {program} is not installed", hint=hint)
