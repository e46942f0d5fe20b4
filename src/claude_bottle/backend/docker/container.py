"""The container of an agent: what it may do, and its first process, which waits before it becomes the agent."""

from __future__ import annotations

import io
import math
import os
import shlex
import subprocess
import tarfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from claude_bottle.backend.docker.account import Account
from claude_bottle.backend.docker.engine import Engine
from claude_bottle.backend.docker.guest import ContainerGuest
from claude_bottle.backend.docker.images import Image
from claude_bottle.backend.docker.names import SLUG_LABEL, Names
from claude_bottle.backend.interface import TREE
from claude_bottle.errors import BottleFailed
from claude_bottle.manifest import ResourcesConfig
from pyro_mcp.host.files import write_atomic
from pyro_mcp.network import RESOLVER_ADDRESS

FOLDER = "run/claude-bottle"
"""Our folder in the container, from its root."""
_EVENT, _AGENT = f"/{FOLDER}/begin", f"/{FOLDER}/agent"
AS_AGENT = f"/{FOLDER}/as-agent"
"""The program in the container that runs its arguments as the agent's user, without any capability."""
# What provisioning as root needs. The agent has none of them: setpriv drops them for good, also where it is root.
_CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "SETGID", "SETPCAP", "SETUID")
_MOST_PROCESSES = 4096
# `docker wait` also fails when the daemon restarts, and containers may outlive that: the time limit holds until the
# container has ended or was removed. An hour after its time the process gives up waiting for a daemon.
# The file $3 has the end, in seconds since the host's start: it can be moved while this waits for the present one.
_KILL = """\
while read -r end <"$3" && read -r now _ </proc/uptime && left=$((end - ${now%.*})) && [ "$left" -gt -3600 ]; do
  [ "$left" -gt 0 ] || { "$1" kill "$2"; left=5; }
  timeout "$left" "$1" wait "$2" && exit
  [ $? = 124 ] && continue
  "$1" container inspect "$2" 2>&1 | grep -qi "no such container" && exit
  sleep 1
done
"""
# A terminal without a size confuses programs; whoever attaches sets the real one.
_FIRST = f"""\
stty rows 24 cols 80 2>/dev/null
IFS= read -r word <{_EVENT} && [ "$word" = begin ] && . {_AGENT}
exit 125
"""


def create(
    engine: Engine,
    names: Names,
    image: Image,
    environ: Mapping[str, str],
    resources: ResourcesConfig,
    *,
    runtime: str | None,
) -> None:
    """Create the container, which gets no network from docker."""
    engine.change(
        [
            "create",
            f"--name={names.container}",
            f"--label={names.label}",
            f"--label={SLUG_LABEL}={names.slug}",
            f"--label={image.account.label}",
            f"--hostname={names.slug}",
            "--user=0:0",
            *([f"--runtime={runtime}"] if runtime else []),
            *("--init", "--interactive", "--tty", "--no-healthcheck", "--restart=no", "--pull=never"),
            *("--network=none", f"--dns={RESOLVER_ADDRESS}", "--dns-search=."),
            *("--cap-drop=ALL", *(f"--cap-add={name}" for name in _CAPABILITIES)),
            "--security-opt=no-new-privileges",
            f"--pids-limit={_MOST_PROCESSES}",
            f"--cpus={min(resources.vcpu_count, os.cpu_count() or 1)}",
            f"--memory={resources.mem_mib}m",
            f"--memory-swap={resources.mem_mib}m",
            f"--mount=type=volume,source={names.tree},destination={TREE},volume-nocopy",
            f"--workdir={TREE}",
            *(f"--env={name}={value}" for name, value in environ.items()),
            *("--log-driver=json-file", "--log-opt=max-size=8m", "--log-opt=max-file=2"),
            "--entrypoint=/bin/sh",
            *(image.id, "-c", _FIRST),
        ]
    )
    engine.call(["cp", "-", f"{names.container}:/"], stdin=_event())


def programs(account: Account, argv: Sequence[str]) -> dict[str, tuple[int, bytes]]:
    """Return our programs for the container, for an agent with the command line `argv`: path → mode, content."""
    name = account.name or str(account.uid)
    own = {"HOME": account.home, "USER": name, "LOGNAME": name}
    groups = "--init-groups" if account.name and account.uid else "--clear-groups"
    switch = [f"--reuid={account.uid}", f"--regid={account.gid}", groups, "--inh-caps=-all", "--bounding-set=-all"]
    as_agent = [
        "#!/bin/sh",
        *(f"export {variable}={shlex.quote(value)}" for variable, value in own.items()),
        f'exec setpriv {shlex.join(switch)} -- "$@"',
    ]
    agent = f"exec {AS_AGENT} {shlex.join(argv)}"
    return {AS_AGENT: (0o755, _lines(as_agent)), _AGENT: (0o700, _lines([agent]))}


def require_setpriv(guest: ContainerGuest) -> None:
    """Raise `BottleFailed` when the image cannot start a program as another user without capabilities."""
    try:
        guest.run(["setpriv", "--reuid=0", "--bounding-set=-all", "true"])
    except BottleFailed as error:
        raise BottleFailed(
            f"the image has no setpriv of util-linux, which removes the agent's rights: {error.message}",
            hint="use an image of Debian, Ubuntu or Fedora, or install util-linux in the image",
        ) from error


def first_process(engine: Engine, container: str) -> int:
    """Return the process id of a running container's first process on this host; raises `BottleFailed`.

    A daemon on another machine gives ids of its own, which mean other processes here.
    """
    found = engine.inspect(container)
    if found is None or not found["State"]["Running"]:
        raise BottleFailed("the container ended before its agent was started", hint="run: docker info")
    pid = int(found["State"]["Pid"])
    try:
        ours = str(found["Id"]) in Path(f"/proc/{pid}/mountinfo").read_text()
    except OSError:
        ours = False
    if not ours:
        raise BottleFailed(
            "the docker daemon does not run on this host, so no gateway can join its containers",
            hint="use a daemon of this host: unset DOCKER_HOST, or docker context use default",
        )
    return pid


def ends_at(deadline: Path) -> float:
    """Return when the container is killed, in seconds since 1970."""
    return time.time() + float(deadline.read_text()) - time.clock_gettime(time.CLOCK_BOOTTIME)


def end_at(deadline: Path, moment: float) -> None:
    """Set when the container is killed, in seconds since 1970; if that is earlier than before, the kill may be late."""
    left = moment - time.time()
    write_atomic(deadline, f"{math.ceil(time.clock_gettime(time.CLOCK_BOOTTIME) + left)}\n")


def kill_in_time(engine: Engine, container: str, deadline: Path) -> None:
    """Start a process on this host that kills the container at its end (`end_at`), and that ends with the container."""
    program = engine.argv([])[0]
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    argv = ["/bin/sh", "-c", _KILL, "sh", program, container, str(deadline)]
    watcher = engine.start_program(argv, **streams)
    # It usually outlives this process. If it does not, this thread keeps it from staying a zombie.
    threading.Thread(target=watcher.wait, daemon=True).start()


def begin(engine: Engine, container: str) -> None:
    """Let the first process become the agent."""
    engine.call(["exec", "--user=0:0", container, "/bin/sh", "-c", f"echo begin >{_EVENT}"])


def _lines(lines: Sequence[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def _event() -> bytes:
    """Return an archive with our folder and the named pipe in it; only root can write to it."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        for name, kind, mode in ((FOLDER, tarfile.DIRTYPE, 0o755), (_EVENT[1:], tarfile.FIFOTYPE, 0o600)):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = kind, mode
            archive.addfile(entry)
    return written.getvalue()
