"""The verbs about one-shot machines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import IO

from pyro_mcp.core.components import Components
from pyro_mcp.engine import OUTPUT_CAP, OutputSink, Shape
from pyro_mcp.machines import EGRESS, OFF, ExecOptions, NetworkPolicy
from pyro_mcp.results import ReapProblem, ReapReport, VmDeleted, VmExecResult, VmInfo, VmNetworkInfo
from pyro_mcp.workspaces import RepairReport


class VmVerbs(Components):
    """Machines for one command."""

    def create_vm(
        self,
        environment: str,
        *,
        vcpu_count: int = 1,
        mem_mib: int = 1024,
        ttl_seconds: float = 600,
        network: bool = False,
        trust_host_ca: bool = False,
        host_mirrors: bool = False,
        allow_host_compat: bool = False,
        accelerator: str | None = None,
    ) -> VmInfo:
        """Register a machine; nothing runs yet. It is gone `ttl_seconds` from now in any case.

        With `network` it reaches every public address, as a workspace with the network policy "egress" does; with
        `trust_host_ca`, too, its programs trust the certificate authorities that this host trusts; with `host_mirrors`
        pip, uv and npm use the mirrors that this host's pip and npm use, without names and passwords. `accelerator` is
        "kvm", "uml", "tcg", or "auto" for the fastest that works here; without it that of `PYRO_ACCELERATOR`, else
        "auto". Results name the one that ran.
        """
        self._repair()
        return self._vms.create(
            environment,
            Shape(vcpu_count, mem_mib),
            ttl_seconds=ttl_seconds,
            allow_host_compat=allow_host_compat,
            accelerator=accelerator,
            network=NetworkPolicy(EGRESS if network else OFF, trust_host_ca=trust_host_ca, host_mirrors=host_mirrors),
            progress=self._progress,
        )

    def start_vm(self, vm_id: str) -> VmInfo:
        """Start a created machine: a fraction of a second when its environment is warm."""
        return self._vms.start(vm_id, self._progress)

    def exec_vm(
        self,
        vm_id: str,
        *,
        command: str | Sequence[str],
        timeout_seconds: float | None = None,
        stdin: bytes | IO[bytes] | None = None,
        output_cap: int = OUTPUT_CAP,
        on_stdout: OutputSink | None = None,
        on_stderr: OutputSink | None = None,
        interrupt: int | None = None,
    ) -> VmExecResult:
        """Run one command, then delete the machine.

        A string is a line for `/bin/sh`, a list is the argv itself. It runs as root in /workspace. `stdin` is given
        whole or as an open binary file; `on_stdout` and `on_stderr` get the output as it comes, all of it; the result
        holds the first `output_cap` bytes of each. When the descriptor `interrupt` becomes readable, the command is
        killed and `Interrupted` raised. Without `timeout_seconds` it is killed after 30 s, or 120 s where the processor
        is emulated. The result's `hint` says what would have helped, where that is known.
        """
        options = ExecOptions(timeout_seconds, stdin, output_cap, on_stdout, on_stderr, interrupt=interrupt)
        return self._vms.exec(vm_id, command, options)

    def stop_vm(self, vm_id: str) -> VmInfo:
        """Flush and end a running machine; `start_vm` starts it again with the same disk."""
        return self._vms.stop(vm_id)

    def delete_vm(self, vm_id: str) -> VmDeleted:
        """End a machine and remove all it owned."""
        return self._vms.delete(vm_id)

    def status_vm(self, vm_id: str) -> VmInfo:
        """Return the current state of a machine."""
        return self._vms.status(vm_id)

    def network_info_vm(self, vm_id: str) -> VmNetworkInfo:
        """Return the machine's network: none, or every public address."""
        return self._vms.network_info(vm_id)

    def reap_expired(self) -> ReapReport:
        """Delete machines and workspaces whose time is over, and whatever dead processes have left behind.

        No other verb deletes a workspace because of its age. One that the database does not know is left alone.
        """
        return _reported(self._repair(reap=True))

    def remove_leftovers(self) -> ReapReport:
        """Remove the machines and files of dead processes; delete no workspace because of its age.

        For programs that manage workspaces of their own (`MANAGED_BY`). If such a program is killed while
        `create_workspace` runs, the new machine may run before its workspace is in the list; this removes it. Each verb
        that makes a machine does the same first.
        """
        return _reported(self._repair())

    def run_in_vm(
        self,
        environment: str,
        *,
        command: str | Sequence[str],
        vcpu_count: int = 1,
        mem_mib: int = 1024,
        timeout_seconds: float | None = None,
        ttl_seconds: float = 600,
        network: bool = False,
        trust_host_ca: bool = False,
        host_mirrors: bool = False,
        allow_host_compat: bool = False,
        accelerator: str | None = None,
        stdin: bytes | IO[bytes] | None = None,
        output_cap: int = OUTPUT_CAP,
        on_stdout: OutputSink | None = None,
        on_stderr: OutputSink | None = None,
        interrupt: int | None = None,
    ) -> VmExecResult:
        """Create, start, exec and delete in one call; the arguments are those of `create_vm` and `exec_vm`.

        The machine lives as long as the command may run, also where `ttl_seconds` is less.
        """
        options = ExecOptions(timeout_seconds, stdin, output_cap, on_stdout, on_stderr, interrupt=interrupt)
        self._repair()
        return self._vms.run_once(
            environment,
            Shape(vcpu_count, mem_mib),
            command,
            options,
            ttl_seconds=ttl_seconds,
            allow_host_compat=allow_host_compat,
            accelerator=accelerator,
            network=NetworkPolicy(EGRESS if network else OFF, trust_host_ca=trust_host_ca, host_mirrors=host_mirrors),
            progress=self._progress,
        )


def _reported(done: RepairReport) -> ReapReport:
    problems: list[ReapProblem] = [{"id": id_, "problem": why} for id_, why in done.problems.items()]
    report: ReapReport = {"count": len(done.deleted), "deleted": done.deleted}
    return {**report, "problems": problems} if problems else report
