"""Docker with the same root file system, measured for comparison."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from benchmarks.figures import Figure, milliseconds
from pyro_mcp import Pyro

_IMAGE = "pyro-bench"
_START_SECONDS = 60
# Docker sees the very files that our machines see, as a tar that one of them writes.
_PACK = ["tar", "--create", "--one-file-system", "--exclude=./workspace", "--directory=/", "."]
_ALONE = ["--network=none", "--pull=never"]


class Docker:
    """A Docker daemon that answers."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._environ = {**os.environ, **(environ or {})}

    def __call__(self, *words: str) -> str:
        """Run `docker`; its output. Raises `CalledProcessError`."""
        done = subprocess.run(
            ["docker", *words],
            check=True,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=self._environ,
            timeout=300,
        )
        return done.stdout.decode().strip()

    def answers(self) -> bool:
        """Return whether `docker info` succeeds."""
        try:
            self("info")
        except (OSError, subprocess.SubprocessError):
            return False
        return True

    def load(self, environment: str) -> None:
        """Make the image from `environment`."""
        loader = subprocess.Popen(
            ["docker", "import", "-", _IMAGE], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=self._environ
        )
        assert loader.stdin is not None
        with loader.stdin as pipe:
            done = Pyro().run_in_vm(
                environment, command=_PACK, timeout_seconds=300, output_cap=0, on_stdout=lambda data: _feed(pipe, data)
            )
        if done["exit_code"] != 0 or loader.wait(timeout=300) != 0:
            raise RuntimeError(f"docker could not be given {environment}: {done['stderr']}")

    def figures(self, environment: str, runs: int) -> list[Figure]:
        """Measure `docker run --rm` and `docker exec` of `true`, and remove the image afterwards."""
        self.load(environment)
        try:
            self("run", "--rm", *_ALONE, _IMAGE, "true")
            run = [milliseconds(self, "run", "--rm", *_ALONE, _IMAGE, "true") for _ in range(runs)]
            container = self("run", "--detach", "--rm", *_ALONE, _IMAGE, "sleep", "600")
            try:
                self("exec", container, "true")
                execute = [milliseconds(self, "exec", container, "true") for _ in range(runs)]
            finally:
                self("kill", container)
        finally:
            self("rmi", "--force", _IMAGE)
        return [Figure("docker run --rm, 'true'", "ms", run), Figure("docker exec, 'true'", "ms", execute)]


@contextmanager
def docker(*, start: bool) -> Iterator[tuple[Docker | None, str]]:
    """Yield a daemon that answers, or None and the reason; with `start`, start one for this block when none does."""
    if shutil.which("docker") is None:
        yield None, "there is no docker here"
    elif Docker().answers():
        yield Docker(), ""
    elif not start:
        yield None, "no docker daemon answers; --with-docker starts one for the time being, as root"
    elif os.geteuid() != 0 or shutil.which("dockerd") is None:
        yield None, "a docker daemon needs root and the program dockerd (Debian package docker.io)"
    else:
        with _daemon() as found:
            yield found


@contextmanager
def _daemon() -> Iterator[tuple[Docker | None, str]]:
    """Start a daemon without network, with its whole state in a folder that is removed with it."""
    with tempfile.TemporaryDirectory(prefix="pyro-docker-", ignore_cleanup_errors=True) as folder:
        address = f"unix://{folder}/socket"
        log = Path(folder, "log")
        argv = ["dockerd", "--bridge=none", "--iptables=false", f"--host={address}", f"--pidfile={folder}/pid"]
        argv += [f"--data-root={folder}/data", f"--exec-root={folder}/exec"]
        with open(log, "wb") as output:
            daemon = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            client = Docker({"DOCKER_HOST": address})
            if _answers_in_time(client, daemon):
                yield client, ""
            else:
                said = log.read_text(errors="replace").strip().splitlines()
                yield None, f"dockerd does not start here: {said[-1] if said else 'it says nothing'}"
        finally:
            daemon.terminate()
            daemon.wait(timeout=60)


def _answers_in_time(client: Docker, daemon: subprocess.Popen[bytes]) -> bool:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end and daemon.poll() is None:
        if client.answers():
            return True
        time.sleep(0.2)
    return False


def _feed(pipe: IO[bytes], data: bytes) -> None:
    pipe.write(data)
