"""A backend for containers in miniature: it uses the published names of `pyro_mcp.network` only."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pyro_mcp.network import Authority, GatewayControl, HostSecret, Rules, launch_gateway
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
def container_with_egress(folder: Path, rules: Rules, secrets: Sequence[HostSecret] = ()) -> Iterator[Guest]:
    """Start a container whose only network is a gateway; the authority's certificate is the file ca.pem in `folder`."""
    authority = Authority(folder / "authority", [secret.host for secret in secrets]) if secrets else None
    if authority is not None:
        (folder / "ca.pem").write_bytes(authority.certificate)
    with container(folder) as process:
        namespace = Path(f"/proc/{process.pid}/ns/net")
        with launch_gateway(folder, folder / "network.log", rules, secrets, authority, namespace=namespace) as gateway:
            gateway.attach_to_process(process.pid)
        yield Guest(process, GatewayControl(folder), folder / "network.log")
