"""A Docker Engine of Debian for the time of a block: unpacked below `build`, not installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PACKAGES = ("docker.io", "containerd", "runc", "tini")
_START_SECONDS = 60
_END_SECONDS = 60
_FETCH_SECONDS = 900
_ROOT = Path(__file__).parents[1]
_UNPACKED = _ROOT / "build/docker"


class NoEngine(Exception):
    """There is no engine here, and none can be started; the message says why."""


def unpack_docker() -> None:
    """Put a `dockerd` into the PATH of this process; where the host has none, unpack Debian's. Raises `NoEngine`."""
    if shutil.which("dockerd") is not None:
        return
    if not (_UNPACKED / "usr/bin/tini-static").exists():
        scratch = Path(tempfile.mkdtemp(prefix="docker-", dir=_ROOT / "build"))
        try:
            # Root's apt-get would otherwise warn that its own sandbox user cannot write here.
            fetch = ["apt-get", "--quiet", "-o", "APT::Sandbox::User=root", "download", *_PACKAGES]
            subprocess.run(fetch, check=True, cwd=scratch, stdout=subprocess.DEVNULL, timeout=_FETCH_SECONDS)
            for package in scratch.glob("*.deb"):
                subprocess.run(["dpkg-deb", "--extract", package, scratch], check=True, timeout=_FETCH_SECONDS)
                package.unlink()
            shutil.rmtree(_UNPACKED, ignore_errors=True)
            scratch.rename(_UNPACKED)
        except (OSError, subprocess.SubprocessError) as error:
            raise NoEngine(f"Debian's packages {', '.join(_PACKAGES)} cannot be fetched: {error}") from error
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    folders = [str(_UNPACKED / name) for name in ("usr/sbin", "usr/bin")]
    os.environ["PATH"] = os.pathsep.join([*folders, os.environ["PATH"]])


@contextmanager
def started_engine(*, in_memory: bool = False) -> Iterator[str]:
    """Start a daemon without bridge; yield the DOCKER_HOST at which it answers. Raises `NoEngine`.

    Its whole state is in a temporary folder, which is removed with it. With `in_memory`, its images and containers are
    in memory: on a disk it waits for that disk after each image that it gets.
    """
    if os.geteuid() != 0:
        raise NoEngine("a docker daemon is started by root alone")
    unpack_docker()
    with tempfile.TemporaryDirectory(prefix="docker-", ignore_cleanup_errors=True) as folder:
        address = f"unix://{folder}/socket"
        log, data = Path(folder, "log"), Path(folder, "data")
        data.mkdir()
        if in_memory:
            subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=711", "tmpfs", data], check=True, timeout=_END_SECONDS)
        argv = ["dockerd", "--bridge=none", "--iptables=false", f"--host={address}", f"--pidfile={folder}/pid"]
        argv += [f"--data-root={data}", f"--exec-root={folder}/exec"]
        with open(log, "wb") as output:
            # In a session of its own: a Ctrl-C, which ends the run, would end it before its containers are removed.
            daemon = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        try:
            if not _answers_in_time(address, daemon):
                said = log.read_text(errors="replace").strip().splitlines()
                raise NoEngine(f"dockerd does not start here: {said[-1] if said else 'it says nothing'}")
            yield address
        finally:
            daemon.terminate()
            daemon.wait(timeout=_END_SECONDS)
            if in_memory:
                subprocess.run(["umount", "--recursive", data], check=True, timeout=_END_SECONDS)


def _answers_in_time(address: str, daemon: subprocess.Popen[bytes]) -> bool:
    environ = {**os.environ, "DOCKER_HOST": address}
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end and daemon.poll() is None:
        asked = ["docker", "version", "--format={{.Server.Version}}"]
        if subprocess.run(asked, check=False, capture_output=True, env=environ, timeout=_START_SECONDS).returncode == 0:
            return True
        time.sleep(0.1)
    return False
