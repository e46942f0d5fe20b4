"""`make demo`: a real project's own tests inside real virtual machines, on this computer."""

from __future__ import annotations

import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from pyro_mcp import Pyro
from pyro_mcp.errors import PyroError
from pyro_mcp.host.files import cache_home, state_home
from pyro_mcp.machines.commands import ExecOptions
from pyro_mcp.results import PrepareReport, VmExecResult
from scripts.kernel_build import KERNEL, LOG, KernelBuild

ENVIRONMENT = "debian:12"
PROJECT = "Markdown==3.9"
SHA256 = "d2900fe1782bd33bdbbd56859defef70c2e78fc46668f8eb9df3128138f2cb6a"
DOWNLOADS = Path("build/demo")
# Those parts of its suite that do not depend on how strict the interpreter's HTML parser is.
TESTS = [
    f"tests.test_syntax.{name}"
    for name in (
        "blocks.test_blockquotes", "blocks.test_code_blocks", "blocks.test_headers", "blocks.test_paragraphs",
        "inline.test_emphasis", "inline.test_links", "extensions.test_footnotes", "extensions.test_tables",
    )
]  # fmt: skip
UNPACK = "tar xz --strip-components 1"
SABOTAGE = "sed -i 's/{1,6}/{1,5}/' markdown/blockprocessors.py"
RUN_TESTS = f"python3 -m unittest --failfast {' '.join(TESTS)} 2>&1"
SHOWN_LINES = 20
# A first `make demo` takes at most five minutes; what follows the wait for the kernel takes some seconds.
KERNEL_BEFORE_SECONDS = 270


class DemoFailed(Exception):
    """The demo cannot go on; the message says why and what to do."""


def main() -> int:
    """Run the whole demo; return 0 when every part of it came out as announced."""
    build = None
    try:
        announce()
        pyro = Pyro(progress=Steps())
        if pyro.doctor()["accelerator"] == "tcg" and "PYRO_ACCELERATOR" not in os.environ:
            build = KernelBuild()
        prepared = prepare(pyro)
        source = fetch()
        emulated = tell_the_story(pyro, source)
        if build is not None and kernel_is_there(build):
            os.environ["PYRO_ACCELERATOR"] = "uml"
            prepared = pyro.prepare(ENVIRONMENT)
            native(pyro, source, emulated)
        costs(pyro, prepared)
    except (DemoFailed, PyroError) as error:
        print(f"\ndemo: {error}", file=sys.stderr)
        return error.exit_code if isinstance(error, PyroError) else 1
    except BaseException:
        if build is not None:
            build.stop()
        raise
    return 0


def announce() -> None:
    """Print what this does to the host, before it does it."""
    print("This demo starts real virtual machines on this computer. What it touches:")
    print(f"  {cache_home()}: Debian 12 for the machines, their kernel, one saved machine; kept for next time")
    print(f"  {state_home()}: the machines themselves; a spare one ends 10 minutes after the demo")
    print(f"  {DOWNLOADS}: the source of {PROJECT} from PyPI; kept for next time")
    print(f"  {LOG.parent}: without KVM, a kernel that runs as a process is built here, and kept in the cache")
    print("From here on nothing is installed; 'make' has named and installed what was missing.")


class Steps:
    """A progress function that prints each step once, and not for every percent of it."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, message: str, fraction: float | None = None) -> None:
        if message != self._last:
            self._last = message
            print(f"   {message}", flush=True)


def heading(title: str) -> None:
    print(f"\n== {title}", flush=True)


def prepare(pyro: Pyro) -> PrepareReport:
    """Prepare the environment and the template of its machines."""
    heading(f"An environment: {ENVIRONMENT}")
    started = time.monotonic()
    done = pyro.prepare(ENVIRONMENT)
    print(
        f"   {done['outcome']} in {time.monotonic() - started:.1f} s; its one boot took {done['cold_boot_ms']:.0f} ms"
    )
    print(f"   accelerator: {done['accelerator']} ({pyro.doctor()['accelerator_reason']})")
    return done


def fetch() -> bytes:
    """Return the project's source distribution, from PyPI or the mirror that pip is configured for."""
    heading(f"A real project: {PROJECT}")
    present = find_download()
    if present is None:
        DOWNLOADS.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as wanted:
            wanted.write(f"{PROJECT} --hash=sha256:{SHA256}\n")
            wanted.flush()
            # pip builds the package's metadata with the package's own code, so the hash comes first.
            argv = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
            argv += ["--no-binary", PROJECT.partition("==")[0], "--require-hashes", "--dest", str(DOWNLOADS)]
            argv += ["--requirement", wanted.name]
            failed = subprocess.run(argv, check=False, stdin=subprocess.DEVNULL, timeout=600).returncode
        present = find_download()
        if failed or present is None:
            raise DemoFailed(f"pip could not download {PROJECT}; it says why above. Is the package index reachable?")
    print(f"   {present}, {present.stat().st_size:,} bytes, sha256 as expected")
    return present.read_bytes()


def find_download() -> Path | None:
    """Return the source distribution whose digest is the expected one."""
    for path in DOWNLOADS.glob("*.tar.gz"):
        if hashlib.sha256(path.read_bytes()).hexdigest() == SHA256:
            return path
    return None


def tell_the_story(pyro: Pyro, source: bytes) -> VmExecResult:
    """Run the tests three times: they pass, fail in a machine where the project is broken, and pass in the next one.

    Returns the result of the last time.
    """
    heading("Its own tests, in a fresh machine")
    show(in_machine(pyro, source, f"{UNPACK} && {RUN_TESTS}"), passes=True)
    heading("The same, in another machine, after an edit that breaks it")
    show(in_machine(pyro, source, f"{UNPACK} && {SABOTAGE} && {RUN_TESTS}"), passes=False)
    heading("And once more: machines share nothing, so the edit is gone with its machine")
    return show(in_machine(pyro, source, f"{UNPACK} && {RUN_TESTS}"), passes=True)


def kernel_is_there(build: KernelBuild) -> bool:
    """Wait for the kernel's build, until the demo must end; return whether machines can start with it."""
    heading("A kernel that runs as a process of this host: nearly native speed without KVM")
    left = float(os.environ.get("PYRO_DEMO_STARTED", time.time())) + KERNEL_BEFORE_SECONDS - time.time()
    made = build.wait(0)
    if made is None and left > 0:
        print(f"   it is being built from Debian's source; waiting up to {left:.0f} s", flush=True)
        made = build.wait(left)
    if made is None:
        print(f"   its build goes on in the background ({LOG}); the next machines start with it: make uml-kernel")
    elif not made:
        print(f"   it could not be built, so machines are emulated; {LOG} ends with: {build.problem()}")
    else:
        print(f"   {KERNEL}, {KERNEL.stat().st_size:,} bytes")
    return bool(made)


def native(pyro: Pyro, source: bytes, emulated: VmExecResult) -> None:
    """Run the tests with the new kernel, beside the time that they took emulated."""
    done = show(in_machine(pyro, source, f"{UNPACK} && {RUN_TESTS}"), passes=True)
    ratio = emulated["duration_ms"] / done["duration_ms"]
    print(f"   {ratio:.0f} times as fast as emulated ({emulated['accelerator']})")


def in_machine(pyro: Pyro, source: bytes, script: str) -> VmExecResult:
    """Run `script` in a machine of its own, with the source on its standard input."""
    print(f"   $ {script.replace(' '.join(TESTS), f'…{len(TESTS)} modules…')}", flush=True)
    return pyro.run_in_vm(ENVIRONMENT, command=script, stdin=source, timeout_seconds=300)


def show(done: VmExecResult, *, passes: bool) -> VmExecResult:
    """Print the end of the tests' output and return `done`; raise `DemoFailed` when they did not end as expected."""
    for line in done["stdout"].rstrip().splitlines()[-(3 if passes else SHOWN_LINES) :]:
        print(f"   | {line}")
    print(f"   exit code {done['exit_code']}, {done['duration_ms'] / 1000:.1f} s, on {done['accelerator']};", end=" ")
    print("the machine is deleted" if done["cleanup"]["deleted"] else "the machine is still there")
    if (done["exit_code"] == 0) != passes:
        raise DemoFailed(f"these tests should have {'passed' if passes else 'failed'}:\n{done['stdout'][-4000:]}")
    return done


def costs(pyro: Pyro, prepared: PrepareReport) -> None:
    """Print a small table; `make bench` has more."""
    heading("What it costs here (medians; 'make bench' measures more)")
    create, execute, delete = [], [], []
    for _ in range(5):
        started = time.perf_counter()
        vm_id = pyro.create_vm(ENVIRONMENT)["vm_id"]
        try:
            pyro.start_vm(vm_id)
            run_true(pyro, vm_id)
            create.append((time.perf_counter() - started) * 1000)
            execute += [milliseconds(run_true, pyro, vm_id) for _ in range(5)]
        finally:
            delete.append(milliseconds(pyro.delete_vm, vm_id))
    # A kernel that is a process has no template, so no boot is made once.
    once = [("cold boot, once per shape", f"{prepared['cold_boot_ms']:.0f} ms")] if prepared["cold_boot_ms"] else []
    rows = [
        *once,
        ("warm create to first result", f"{statistics.median(create):.0f} ms"),
        ("exec round trip", f"{statistics.median(execute):.1f} ms"),
        ("delete", f"{statistics.median(delete):.0f} ms"),
        ("accelerator", prepared["accelerator"]),
    ]
    for name, value in rows:
        print(f"   {name:29} {value:>8}")


def run_true(pyro: Pyro, vm_id: str) -> None:
    # Below the SDK, whose exec_vm deletes the machine after one command.
    pyro._vms.run(vm_id, ["true"], ExecOptions())


def milliseconds(step: Callable[..., object], *arguments: object) -> float:
    """Return how long `step` takes."""
    started = time.perf_counter()
    step(*arguments)
    return (time.perf_counter() - started) * 1000


if __name__ == "__main__":
    sys.exit(main())
