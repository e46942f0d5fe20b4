"""A registry on loopback, and images to look into."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pyro_mcp.environments import EnvironmentStore
from pyro_mcp.environments.user_namespace import remove_tree
from tests.environments.oci_images import Registry

ROOT = Path(__file__).parents[2]
_WAIT_SECONDS = 20.0


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """Debian's docker-registry, open to all."""
    with running_registry(tmp_path_factory.mktemp("registry"), "") as registry:
        yield registry


@contextmanager
def running_registry(folder: Path, settings: str) -> Iterator[Registry]:
    """Run a registry on a port that the kernel chooses; `settings` is more YAML for its configuration."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("no registry to test with: sudo apt-get install --no-install-recommends docker-registry")
    storage = folder / "storage"
    configuration = folder / "registry.yml"
    configuration.write_text(
        f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {storage}}}}}\n"
        f"http: {{addr: '127.0.0.1:0'}}\n{settings}"
    )
    server = subprocess.Popen([program, "serve", configuration], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert server.stderr is not None
    deadline = threading.Timer(_WAIT_SECONDS, server.kill)
    deadline.start()
    try:
        ports = (re.search(rb"listening on 127\.0\.0\.1:(\d+)", line) for line in server.stderr)
        found = next(port for port in ports if port)
        deadline.cancel()
        drain = threading.Thread(target=server.stderr.read, daemon=True)
        drain.start()
        yield Registry(f"127.0.0.1:{int(found[1])}", storage)
        server.kill()
        drain.join(_WAIT_SECONDS)
    finally:
        deadline.cancel()
        server.kill()
        server.wait(_WAIT_SECONDS)
        server.stderr.close()


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Path]:
    """An empty cache folder."""
    folder = tmp_path / "cache"
    folder.mkdir(mode=0o700)
    yield folder
    remove_tree(folder)


@pytest.fixture
def environments(cache: Path) -> EnvironmentStore:
    return EnvironmentStore(cache)


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> EnvironmentStore:
    """A cache that really holds `debian:12-base` and the guest kernel."""
    environments = EnvironmentStore(tmp_path_factory.mktemp("real"))
    environments.pull("debian:12-base")
    environments.kernel()
    return environments


@pytest.fixture
def extract(tmp_path: Path) -> Callable[[Path], Path]:
    """Unpacks an image into a new folder."""

    def extract(image: Path) -> Path:
        target = tmp_path / f"extracted-{image.parent.name}"
        subprocess.run(["fsck.erofs", f"--extract={target}", image], check=True, capture_output=True, timeout=60)
        return target

    return extract


@pytest.fixture
def start_puller() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `puller.py` with arguments; what still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.environments.puller", *map(str, arguments)]
        environment = {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
        puller = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
        started.append(puller)
        return puller

    yield start
    for puller in started:
        puller.kill()
        puller.communicate()
