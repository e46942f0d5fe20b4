"""Measure what SPEC.md promises about speed: a table, and JSON in build/bench.json.

Medians on the machine at hand, with the smallest and largest sample; ratios come from the same run, so that they say
something on a faster or slower machine too. Nothing fails for being slow: a missed target is shown as such.
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from pathlib import Path

from benchmarks import machines, workspaces
from benchmarks.audit import of_journal
from benchmarks.by_history import of_history
from benchmarks.command import arguments_parser, write_report
from benchmarks.figures import ratio, table
from benchmarks.machines import Bench
from benchmarks.model_budget import of_model_budget
from benchmarks.network import of_network
from benchmarks.proxy import of_proxy
from benchmarks.sessions import of_sessions
from pyro_mcp import __version__

_TARGET = Path("build/bench.json")


def main() -> int:
    """Measure, print, write; the exit code is 0 unless something could not be measured."""
    arguments = arguments_parser(__doc__).parse_args()
    return write_report("bench", _TARGET, lambda: _measure(arguments.environment, quick=arguments.quick))


def _measure(environment: str, *, quick: bool) -> dict[str, object]:
    few, some, many = (1, 3, 10) if quick else (3, 20, 50)
    # Sockets are made below it, and their paths hold at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="pyro-bench-") as state:
        _say("preparing")
        bench = Bench(environment, Path(state))
        host = _host(bench)
        _say("cold boot")
        cold = machines.cold_boot(environment, few)
        _say("life of a machine")
        life = machines.life(bench, some)
        _say("exec")
        execute = machines.exec_round_trip(bench, many)
        _say("many at once, memory, throughput")
        rest = [machines.at_once(bench, few), machines.private_memory(bench, few)]
        rest += [machines.whole_process(some), *machines.throughput(bench, few)]
        _say("workspaces")
        work = workspaces.of_a_large_tree(environment, Path(state, "pyro-mcp"), few)
        work += workspaces.of_streams(environment, Path(state, "pyro-mcp"), few)
        work += workspaces.of_many(environment, Path(state, "pyro-mcp"), few)
        _say("many snapshots")
        work += of_history(environment, Path(state, "pyro-mcp"), 20 if quick else 200, few)
        _say("shells and services, network")
        work += of_sessions(environment, Path(state, "pyro-mcp"), few)
        _say("audit journal")
        work += of_journal(100_000 if quick else 1_000_000, few)
        if os.getuid() == 0:
            work += [*of_network(environment, Path(state, "pyro-mcp"), few), *of_proxy(few), *of_model_budget(few)]
    boots = [] if cold is None else [cold, ratio("create ÷ cold boot", life[0], cold, target=1 / 8)]
    figures = [*boots, *life, execute, *rest, *work]
    print("\n".join(f"{name:12} {value}" for name, value in host.items()))
    print(f"\n{table(figures)}")
    return {"host": host, "figures": [figure.as_json() for figure in figures]}


def _host(bench: Bench) -> dict[str, str]:
    report = bench.pyro.doctor()
    cpuinfo = Path("/proc/cpuinfo").read_text().splitlines()
    processor = next((line.split(":", 1)[1].strip() for line in cpuinfo if line.startswith("model name")), "unknown")
    return {
        "pyro": __version__,
        "environment": f"{bench.prepared['environment']} {bench.prepared['environment_version']}",
        "accelerator": f"{report['accelerator']} ({report['accelerator_reason']})",
        "processor": f"{processor}, {os.cpu_count()} usable",
        "kernel": platform.release(),
    }


def _say(what: str) -> None:
    print(f"== {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
