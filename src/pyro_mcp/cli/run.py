"""pyro run"""

from __future__ import annotations

import argparse

import pyro_mcp
from pyro_mcp.cli.options import (
    accelerator_option,
    host_compat_option,
    host_settings_options,
    machine_options,
    timeout_option,
)
from pyro_mcp.cli.stream import OWN_FAILURE, finish, streams
from pyro_mcp.command_line import Verbs, verb


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
    machine_options(parser, ttl_seconds=600)
    timeout_option(parser)
    parser.add_argument("--network", action="store_true", help="let it reach public addresses (default: no network)")
    host_settings_options(parser)
    host_compat_option(parser)
    accelerator_option(parser)
    parser.set_defaults(own_failure=OWN_FAILURE)


def _run(arguments: argparse.Namespace) -> int:
    with streams(arguments) as ends:
        result = pyro_mcp.Pyro(progress=ends.progress).run_in_vm(
            arguments.environment,
            command=arguments.command,
            vcpu_count=arguments.vcpu_count,
            mem_mib=arguments.mem_mib,
            timeout_seconds=arguments.timeout_seconds,
            ttl_seconds=arguments.ttl_seconds,
            network=arguments.network,
            trust_host_ca=arguments.trust_host_ca,
            host_mirrors=arguments.host_mirrors,
            allow_host_compat=arguments.allow_host_compat,
            accelerator=arguments.accelerator,
            stdin=ends.stdin,
            on_stdout=ends.on_stdout,
            on_stderr=ends.on_stderr,
        )
    return finish(arguments, result)
