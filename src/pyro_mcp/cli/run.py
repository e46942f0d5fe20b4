"""pyro run"""

from __future__ import annotations

import argparse
import sys

import pyro_mcp
from pyro_mcp.cli.options import Verbs, verb
from pyro_mcp.cli.render import ProgressLine, print_json
from pyro_mcp.errors import InvalidRequest
from pyro_mcp.results import VmExecResult

_OWN_FAILURE = 125


def add(verbs: Verbs) -> None:
    parser = verb(
        verbs,
        "run",
        "run one command in a fresh virtual machine that is deleted afterwards",
        _run,
        example="pyro run debian:12 -- python3 -c 'print(6 * 7)'",
    )
    parser.usage = "pyro run [options] ENVIRONMENT -- COMMAND [ARG ...]"
    parser.add_argument("environment", metavar="ENVIRONMENT", help="for example debian:12; see 'pyro env list'")
    parser.add_argument("--vcpu-count", type=int, default=1, metavar="N", help="virtual processors (default 1)")
    parser.add_argument("--mem-mib", type=int, default=1024, metavar="N", help="memory in MiB (default 1024)")
    parser.add_argument(
        "--timeout-seconds", type=float, default=30, metavar="S", help="kill the command after this time (default 30)"
    )
    parser.add_argument(
        "--ttl-seconds", type=float, default=600, metavar="S", help="kill the machine after this time (default 600)"
    )
    parser.add_argument(
        "--allow-host-compat",
        action="store_true",
        help="where no guest can run, use a sandbox on the host instead: far less isolated",
    )
    parser.set_defaults(own_failure=_OWN_FAILURE)


def _run(arguments: argparse.Namespace) -> int:
    if not arguments.command:
        raise InvalidRequest(
            "there is no command to run", hint="give it after --, for example: pyro run debian:12 -- git --version"
        )
    line = ProgressLine()

    def show(stream: int) -> pyro_mcp.OutputSink | None:
        output = (sys.stdout, sys.stderr)[stream].buffer

        def write(data: bytes) -> None:
            line.clear()
            output.write(data)
            output.flush()

        return None if arguments.json else write

    try:
        result = pyro_mcp.Pyro(progress=line).run_in_vm(
            arguments.environment,
            command=arguments.command,
            vcpu_count=arguments.vcpu_count,
            mem_mib=arguments.mem_mib,
            timeout_seconds=arguments.timeout_seconds,
            ttl_seconds=arguments.ttl_seconds,
            allow_host_compat=arguments.allow_host_compat,
            stdin=None if sys.stdin is None or sys.stdin.isatty() else sys.stdin.buffer,
            on_stdout=show(0),
            on_stderr=show(1),
        )
    finally:
        line.clear()
    if arguments.json:
        print_json(result)
    else:
        _remark(arguments, result)
    return result["exit_code"]


def _remark(arguments: argparse.Namespace, result: VmExecResult) -> None:
    """Say on stderr what the output alone does not tell."""
    if result["execution_mode"] == "host_compat":
        print("pyro: host_compat: this ran in a sandbox on the host, not in a virtual machine", file=sys.stderr)
    if result["timed_out"]:
        print(f"pyro: killed after {arguments.timeout_seconds:g} s; --timeout-seconds gives it longer", file=sys.stderr)
