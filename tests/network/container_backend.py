"""A backend for containers in miniature: it uses the published names of `pyro_mcp.network` only."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pyro_mcp.network import Authority, GatewayControl, GuestCA, HostSecret, Rules, launch_gateway
from tests.network.testbed import Guest, receive_line, start_program


@contextmanager
def container(folder: Path, *before: str) -> Iterator[subprocess.Popen[str]]:
    """Start a process with a network namespace that holds nothing but a loopback; `before` wraps its command."""
    with start_program(
        ["unshare", "--net", "--mount", *before], "tests.network.simulated_guest", str(folder)
    ) as process:
        assert receive_line(process) == "ready"
        yield process


@contextmanager
def container_with_egress(
    folder: Path, rules: Rules, secrets: Sequence[HostSecret] = (), supervisor: Path | None = None
) -> Iterator[Guest]:
    """Start a container whose only network is a gateway; what its programs trust is below `folder`/root."""
    hosts = [*rules.terminated_hosts, *(secret.host for secret in secrets)]
    authority = Authority(folder / "authority", hosts) if hosts else None
    for path, (mode, content) in GuestCA(authority).files().items():
        placed = Path(f"{folder}/root{path}")
        placed.parent.mkdir(parents=True, exist_ok=True)
        placed.write_bytes(content)
        placed.chmod(mode)
    with container(folder) as process:
        namespace = Path(f"/proc/{process.pid}/ns/net")
        log = folder / "network.log"
        with launch_gateway(
            folder, log, rules, secrets, authority, namespace=namespace, supervisor=supervisor
        ) as gateway:
            gateway.attach_to_process(process.pid)
        yield Guest(process, GatewayControl(folder), folder / "network.log")
