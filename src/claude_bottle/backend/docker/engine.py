"""The Docker Engine, reached through the `docker` program."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

from claude_bottle.errors import BottleFailed
from pyro_mcp.errors import DeadlineExceeded, HostCommandFailed, HostToolMissing
from pyro_mcp.host.process import Completed, child_environment, run
from pyro_mcp.host.programs import find_program

_PASSED_ON = ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "DOCKER_API_VERSION")
_INSTALL = "install it with: sudo apt-get install docker.io (or follow https://docs.docker.com/engine/install)"
DEADLINE = 120.0
"""Seconds after which an ordinary request to the daemon fails."""


class Engine:
    """The daemon that `docker` reaches; every call raises `HostCommandFailed` when the daemon refuses."""

    def call(
        self,
        words: Sequence[str | Path],
        *,
        stdin: bytes | IO[bytes] | None = None,
        deadline_seconds: float = DEADLINE,
    ) -> str:
        """Run `docker` and return its output without the last newline."""
        found = self.run(words, stdin=stdin, deadline_seconds=deadline_seconds)
        return found.stdout.decode(errors="replace").rstrip("\n")

    def run(
        self,
        words: Sequence[str | Path],
        *,
        stdin: bytes | IO[bytes] | None = None,
        deadline_seconds: float = DEADLINE,
        on_stdout: Callable[[bytes], object] | None = None,
        check: bool = True,
    ) -> Completed:
        """Run `docker`; see `pyro_mcp.host.process.run`."""
        return run(
            self.argv(words),
            stdin=stdin,
            deadline_seconds=deadline_seconds,
            extra_environment=_variables(),
            on_stdout=on_stdout,
            check=check,
        )

    def change(self, words: Sequence[str | Path], *, deadline_seconds: float = DEADLINE) -> str:
        """Run `docker` to make something, to its end even if this process is interrupted; return its output.

        If the client were killed, the daemon might still make the thing, and nobody would remove it.
        """
        results: list[str] = []
        failures: list[BaseException] = []

        def work() -> None:
            try:
                results.append(self.call(words, deadline_seconds=deadline_seconds))
            except BaseException as error:  # noqa: BLE001 - raised below
                failures.append(error)

        worker = threading.Thread(target=work, daemon=True)
        worker.start()
        try:
            worker.join()
        except BaseException:
            worker.join()
            raise
        if failures:
            raise failures[0]
        return results[0]

    def start(self, words: Sequence[str], **streams: Any) -> subprocess.Popen[bytes]:
        """Start `docker` in a session of its own with these streams; the caller ends it."""
        return self.start_program(self.argv(words), **streams)

    def start_program(self, argv: Sequence[str], **streams: Any) -> subprocess.Popen[bytes]:
        """Start a program that calls `docker`, in a session of its own; the caller ends it."""
        return subprocess.Popen(argv, env=child_environment(_variables()), start_new_session=True, cwd="/", **streams)

    def argv(self, words: Sequence[str | Path]) -> list[str]:
        """Return the command line of `docker`; raises `HostToolMissing`."""
        program = find_program("docker")
        if program is None:
            raise HostToolMissing("the program docker is not installed", hint=_INSTALL)
        return [str(program), *map(str, words)]

    def inspect(self, container: str) -> dict[str, Any] | None:
        """Return what the daemon knows of a container; None when there is none."""
        return self._one(["container", "inspect", container])

    def image(self, reference: str) -> dict[str, Any] | None:
        """Return what the daemon knows of an image; None when it does not have it."""
        return self._one(["image", "inspect", reference])

    def names(self, kind: str, label: str) -> list[str]:
        """Return the ids of the containers, or the names of the volumes, that have a label (`NAME=VALUE` or `NAME`)."""
        listing = ["ps", "--all", "--no-trunc"] if kind == "container" else ["volume", "ls"]
        return self.call([*listing, "--quiet", "--filter", f"label={label}"]).split()

    def _one(self, words: Sequence[str]) -> dict[str, Any] | None:
        found = self.run([*words], check=False)
        if found.exit_code == 0:
            (one,) = json.loads(found.stdout)
            return dict(one)
        said = found.stderr.decode(errors="replace").strip()
        if "no such" in said.lower():
            return None
        raise HostCommandFailed(f"docker failed: {said}")


def failed(error: HostCommandFailed | DeadlineExceeded, what: str) -> BottleFailed:
    """Return the `BottleFailed` for a step `what` that failed in docker."""
    return BottleFailed(f"{what}: {error.message}", hint=error.hint)


def _variables() -> dict[str, str]:
    return {name: os.environ[name] for name in _PASSED_ON if os.environ.get(name)}
