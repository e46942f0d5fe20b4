"""The command line of smolvm: `smolvm machine create | start | exec | cp | stop | rm`.

Options and behaviour follow the sources of smol-machines/smolvm (`src/cli/machine.rs`, AGENTS.md); this module has not
run with a real smolvm yet. These facts shape it:

- `machine cp` copies one file, of less than 4 GiB, so a folder is copied as a tar file that the machine unpacks.
- `machine cp` splits its first argument at the first colon, so a host path with a colon is copied by a link to it.
- `machine exec` passes the exit code of its command on, and its own failures have the exit code 1.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from pyro_mcp.errors import HostCommandFailed, HostToolMissing, InvalidRequest, PyroError
from pyro_mcp.host.process import run
from pyro_mcp.host.programs import find_program, require_program

_GUEST_SIDE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*:/")
_CREATE_SECONDS = 900.0  # an image is pulled, or a packed machine of some GiB unpacked
_START_SECONDS = 180.0
_EXEC_SECONDS = 300.0
_COPY_SECONDS = 900.0  # 4 GiB at the 35 MB/s that smolvm's documents name take two minutes


def program() -> str:
    """Return the path of `smolvm`; raises `HostToolMissing`."""
    found = find_program("smolvm")
    if found is None:
        raise HostToolMissing(
            "the program smolvm is not installed",
            hint="install it as https://github.com/smol-machines/smolvm describes, or choose another backend",
        )
    return str(found)


def machine_create(
    name: str,
    *,
    from_path: Path | None = None,
    image: str = "",
    cpus: int | None = None,
    mem_mib: int | None = None,
    environ: Mapping[str, str] | None = None,
    resolver: str = "",
) -> None:
    """Create a machine from a packed one or an image; it has a network only with the address of a `resolver`."""
    words = ["create", "--name", name]
    words += ["--from", str(from_path)] if from_path is not None else ["--image", image] if image else []
    words += ["--cpus", str(cpus)] if cpus else []
    words += ["--mem", str(mem_mib)] if mem_mib else []
    words += ["--net", "--dns", resolver] if resolver else []
    for variable, value in sorted((environ or {}).items()):
        words += ["--env", f"{variable}={value}"]
    _machine(words, _CREATE_SECONDS)


def machine_start(name: str, *, network_namespace: Path | None = None) -> None:
    """Start a machine; with `network_namespace` all its connections are made there."""
    enter: list[str | Path] = (
        [] if network_namespace is None else [require_program("nsenter"), f"--net={network_namespace}"]
    )
    _machine(["start", "--name", name], _START_SECONDS, before=enter)


def machine_stop(name: str) -> None:
    """Stop a machine; its disk stays."""
    _machine(["stop", "--name", name], _START_SECONDS)


def machine_rm(name: str) -> None:
    """Remove a machine, also a running one, with its disk."""
    _machine(["rm", "--name", name, "--force"], _START_SECONDS)


def machines() -> dict[str, int | None]:
    """Return the process id of each machine by its name; None for a machine that does not run."""
    output = _machine(["ls", "--json"], _EXEC_SECONDS)
    try:
        rows = json.loads(output)
        return {str(row["name"]): row["pid"] if row["state"] == "running" else None for row in rows}
    except (ValueError, TypeError, KeyError) as error:
        raise HostCommandFailed(
            f"smolvm printed no list of machines: {output[:200]!r}",
            hint="see what this prints: smolvm machine ls --json",
        ) from error


def machine_cp(src: str, dst: str) -> None:
    """Copy a file or folder between the host and a machine; `NAME:/path` is the machine's side.

    `dst` is the new name of what is copied. A folder can only be copied into a machine, where its files are added.
    """
    into = _names_machine(dst)
    if into == _names_machine(src):
        raise InvalidRequest(f"cannot copy {src!r} to {dst!r}", hint="one of the two must name a machine: NAME:/path")
    if into and os.path.isdir(src):
        _copy_folder_in(src, dst)
        return
    with _without_colon(src) if into else _unchanged(src) as source:
        _machine(["cp", source, dst], _COPY_SECONDS)


def machine_exec(name: str, argv: Sequence[str], *, stdin: bytes | None = None) -> bytes:
    """Run a program in a machine to its end and return its standard output."""
    return _machine([*exec_words(name, argv, interactive=stdin is not None)], _EXEC_SECONDS, stdin)


def exec_words(
    name: str,
    argv: Sequence[str],
    *,
    environ: Mapping[str, str] | None = None,
    workdir: str = "",
    interactive: bool = False,
    terminal: bool = False,
) -> list[str]:
    """Return the words after `smolvm machine` that run a program in a machine."""
    words = ["exec", "--name", name]
    words += ["--interactive"] if interactive else []
    words += ["--tty"] if terminal else []
    words += ["--workdir", workdir] if workdir else []
    for variable, value in sorted((environ or {}).items()):
        words += ["--env", f"{variable}={value}"]
    return [*words, "--", *argv]


def extra_environment() -> dict[str, str]:
    """Return the host's variables that smolvm reads, which other programs do not get."""
    return {name: value for name, value in os.environ.items() if name.startswith(("SMOLVM_", "XDG_"))}


def _machine(
    words: Sequence[str], deadline_seconds: float, stdin: bytes | None = None, before: Sequence[str | Path] = ()
) -> bytes:
    done = run(
        [*before, program(), "machine", *words],
        deadline_seconds=deadline_seconds,
        stdin=stdin,
        extra_environment=extra_environment(),
    )
    return done.stdout


def _names_machine(side: str) -> bool:
    return _GUEST_SIDE.match(side) is not None


@contextmanager
def _unchanged(path: str) -> Iterator[str]:
    yield path


@contextmanager
def _without_colon(path: str) -> Iterator[str]:
    """Yield a path without a colon that leads to the same file."""
    if ":" not in path:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="smolvm-cp-") as folder:
        link = Path(folder, "file")
        link.symlink_to(os.path.abspath(path))
        yield str(link)


def _copy_folder_in(source: str, target: str) -> None:
    """Copy what is in the folder `source` into the folder `NAME:/path`, which is made."""
    name, _, path = target.partition(":")
    archive = f"{path}.{secrets.token_hex(6)}.tar"
    with tempfile.TemporaryDirectory(prefix="smolvm-cp-") as folder:
        packed = Path(folder, "folder.tar")
        with tarfile.open(packed, "w") as tar:
            tar.add(os.path.realpath(source), arcname=".")
        machine_exec(name, ["mkdir", "-p", path])
        try:
            _machine(["cp", str(packed), f"{name}:{archive}"], _COPY_SECONDS)
            machine_exec(name, ["tar", "-x", "-o", "-f", archive, "-C", path])
        finally:
            with suppress(PyroError):  # the failure before it is the one to report
                machine_exec(name, ["rm", "-f", archive])
