"""The verbs about shells and services."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import IO

from pyro_mcp.core.components import Components
from pyro_mcp.engine import OutputSink
from pyro_mcp.machines import SecretEnv
from pyro_mcp.results import (
    PortWanted,
    ServiceInfo,
    ServiceList,
    ServiceLogs,
    ShellClosed,
    ShellInfo,
    ShellList,
    ShellOpened,
    ShellRead,
    ShellSignalled,
    ShellWritten,
)
from pyro_mcp.sessions import Services, ServiceSpec, Shells
from pyro_mcp.workspaces import ServiceStore


class SessionVerbs(Components):
    """Programs in a running workspace that go on after the call that started them.

    They end with their machine: a stop or a reset of the workspace ends them, the end of this process does not.
    """

    def open_shell(
        self,
        workspace_id: str,
        *,
        command: str | Sequence[str] | None = None,
        cwd: str = "/workspace",
        cols: int = 120,
        rows: int = 30,
        secret_env: SecretEnv | None = None,
    ) -> ShellOpened:
        """Start bash, or sh, on a terminal of `cols` × `rows` characters. The last MiB it writes is kept.

        With a `command` (a shell line or a list of words), the command runs on the terminal instead. Its output and its
        exit code are kept until `close_shell`.
        """
        return self._shells.open(workspace_id, command=command, cwd=cwd, cols=cols, rows=rows, secret_env=secret_env)

    def list_shells(self, workspace_id: str) -> ShellList:
        """List the shells that were opened and not closed, oldest first."""
        return self._shells.list(workspace_id)

    def read_shell(
        self,
        workspace_id: str,
        shell_id: str,
        *,
        cursor: int = 0,
        max_chars: int = 65536,
        plain: bool = False,
        wait_for_idle_ms: int | None = None,
        interrupt: int | None = None,
    ) -> ShellRead:
        """Return what a shell wrote from `cursor` on; the result's `next_cursor` is where to go on.

        `plain` gives what a person would see, without escape sequences; `wait_for_idle_ms` waits until the shell has
        been silent so long (300 suits most), at most 30 s. Raises `Interrupted` when the descriptor `interrupt` becomes
        readable meanwhile.
        """
        return self._shells.read(
            workspace_id,
            shell_id,
            cursor=cursor,
            max_chars=max_chars,
            as_plain=plain,
            wait_for_idle_ms=wait_for_idle_ms,
            interrupt=interrupt,
        )

    def write_shell(self, workspace_id: str, shell_id: str, *, input: str, append_newline: bool = True) -> ShellWritten:
        """Type `input`, and Enter unless `append_newline` is false; at most 1 MiB."""
        return self._shells.write(workspace_id, shell_id, input, append_newline=append_newline)

    def signal_shell(self, workspace_id: str, shell_id: str, *, signal_name: str = "INT") -> ShellSignalled:
        """Send a signal to the program in the foreground of the shell's terminal."""
        return self._shells.signal(workspace_id, shell_id, signal_name)

    def resize_shell(self, workspace_id: str, shell_id: str, *, cols: int, rows: int) -> ShellInfo:
        """Change the size of the shell's terminal; its programs are told."""
        return self._shells.resize(workspace_id, shell_id, cols, rows)

    def close_shell(self, workspace_id: str, shell_id: str) -> ShellClosed:
        """End a shell, everything that was started in it, and its output."""
        return self._shells.close(workspace_id, shell_id)

    def attach_shell(
        self,
        workspace_id: str,
        shell_id: str,
        *,
        stdin: IO[bytes],
        on_output: OutputSink,
        interrupt: int | None = None,
    ) -> ShellInfo:
        """Connect `stdin` and `on_output` to the shell until either ends. Replay its last 64 KiB first.

        It also ends as soon as the descriptor `interrupt` becomes readable, whatever is typed and not yet read.
        """
        return self._shells.attach(workspace_id, shell_id, stdin, on_output, interrupt)

    def start_service(
        self,
        workspace_id: str,
        service_name: str,
        *,
        command: str | Sequence[str],
        cwd: str = "/workspace",
        readiness: Mapping[str, object] | None = None,
        ready_timeout_seconds: float = 30,
        ready_interval_ms: float = 500,
        secret_env: SecretEnv | None = None,
        published_ports: Sequence[PortWanted] | None = None,
        interrupt: int | None = None,
    ) -> ServiceInfo:
        """Start a program in the background, and wait until it is ready.

        `readiness` is {"type": "file", "path": …}, {"type": "tcp", "port": …}, {"type": "http", "url": …,
        "status": 200} or {"type": "command", "command": …}; the pause between checks grows to
        `ready_interval_ms`.
        `published_ports`, each {"guest_port": …, "host_port": …}, are shown on the host's 127.0.0.1 as long as it runs;
        the network policy must be "egress+published-ports", and the program must listen on all addresses. Raises
        `GuestFailed` with its last lines when it ends first, `DeadlineExceeded` when it is late, `Interrupted` when the
        descriptor `interrupt` becomes readable before it is ready; then it does not run.
        """
        spec = ServiceSpec(
            service_name,
            command,
            cwd,
            readiness,
            ready_timeout_seconds,
            ready_interval_ms,
            secret_env,
            list(published_ports or ()),
            interrupt,
        )
        return self._services.start(workspace_id, spec)

    def list_services(self, workspace_id: str) -> ServiceList:
        """List the services that were started since the last reset, oldest first, ended ones included."""
        return self._services.list(workspace_id)

    def status_service(self, workspace_id: str, service_name: str) -> ServiceInfo:
        """Return the current state of one service."""
        return self._services.status(workspace_id, service_name)

    def logs_service(
        self, workspace_id: str, service_name: str, *, tail_lines: int = 200, all: bool = False
    ) -> ServiceLogs:
        """Return the last lines that a service wrote, or with `all` everything kept: 4 MiB of each stream."""
        return self._services.logs(workspace_id, service_name, tail_lines=None if all else tail_lines)

    def stop_service(self, workspace_id: str, service_name: str) -> ServiceInfo:
        """End a service and all it started: SIGTERM, and SIGKILL after 5 s. One that has ended already stays so."""
        return self._services.stop(workspace_id, service_name)

    @cached_property
    def _shells(self) -> Shells:
        return Shells(self._workspace_access)

    @cached_property
    def _services(self) -> Services:
        return Services(self._workspace_access, ServiceStore(self._lifecycle.store), self._lifecycle.folders)
