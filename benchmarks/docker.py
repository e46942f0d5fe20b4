"""Docker with the same root file system, measured for comparison."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from benchmarks.docker_engine import NoEngine, started_engine
from pyro_mcp import Pyro

IMAGE = "pyro-bench"
"""The image with the root files of the machines; `Docker.image` makes and removes it."""
_SECONDS = 900


class Docker:
    """A Docker daemon that answers."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._environ = {**os.environ, **(environ or {})}
        self.version = ""

    def __call__(self, *words: str) -> str:
        """Run `docker`; its output. Raises `CalledProcessError`."""
        return self._run(words, None, subprocess.PIPE).decode().strip()

    def discard(self, *words: str) -> None:
        """Run `docker`, and read its output piece by piece without keeping it."""
        with subprocess.Popen(["docker", *words], stdout=subprocess.PIPE, env=self._environ) as process:
            assert process.stdout is not None
            while process.stdout.read(1 << 20):
                pass
        if process.returncode != 0:
            raise subprocess.CalledProcessError(process.returncode, words)

    def give(self, data: bytes, *words: str) -> None:
        """Run `docker` with this input."""
        self._run(words, data, subprocess.DEVNULL)

    def _run(self, words: Sequence[str], data: bytes | None, output: int) -> bytes:
        given: dict[str, Any] = {"stdin": subprocess.DEVNULL} if data is None else {"input": data}
        done = subprocess.run(
            ["docker", *words],
            check=False,
            stdout=output,
            stderr=subprocess.PIPE,
            env=self._environ,
            timeout=_SECONDS,
            **given,
        )
        if done.returncode != 0:
            said = (done.stdout or b"")[-1000:] + done.stderr[-1000:]
            error = subprocess.CalledProcessError(done.returncode, done.args)
            error.add_note(said.decode(errors="replace"))
            raise error
        return done.stdout or b""

    def answers(self) -> bool:
        """Return whether the daemon tells its version."""
        try:
            self.version = self("version", "--format", "{{.Server.Version}}")
        except (OSError, subprocess.SubprocessError):
            return False
        return True

    def load(self, environment: str) -> None:
        """Make the image from `environment`: the very files that our machines see."""
        loader = subprocess.Popen(
            ["docker", "import", "-", IMAGE], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=self._environ
        )
        assert loader.stdin is not None
        with loader.stdin as pipe:
            Pyro().export_environment(environment, output=pipe)
        if loader.wait(timeout=_SECONDS) != 0:
            raise RuntimeError(f"docker could not be given {environment}")

    @contextmanager
    def image(self, environment: str) -> Iterator[None]:
        """Make the image for this block."""
        self.load(environment)
        try:
            yield
        finally:
            self("rmi", "--force", IMAGE)


@contextmanager
def docker() -> Iterator[tuple[Docker | None, str]]:
    """Yield a daemon that answers, or None and the reason; as root, start one for this block when none does."""
    if shutil.which("docker") is not None and Docker().answers():
        yield Docker(), ""
        return
    with ExitStack() as stack:
        try:
            client = Docker({"DOCKER_HOST": stack.enter_context(started_engine())})
        except NoEngine as error:
            yield None, f"no docker daemon answers, and {error}"
            return
        client.answers()
        yield client, ""
