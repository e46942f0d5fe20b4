"""Small programs that stress one thing each; `python3 programs.py NAME` prints the milliseconds of one as a number.

The same file runs on the host, in a container and in a machine, so it uses the standard library alone.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_LOOPS, _FLOATS, _HASHED_BYTES = 3_000_000, 500_000, 100_000_000
_FILES, _FORKS, _STATS, _TOUCHED_BYTES = 2_000, 100, 50_000, 500_000_000
_IMPORTS = "import argparse, asyncio, email, http.client, json, logging, sqlite3, unittest"


def python_loop() -> float:
    """Add up numbers in the interpreter."""
    started, total = time.perf_counter(), 0
    for number in range(_LOOPS):
        total += number
    return time.perf_counter() - started


def sort_floats() -> float:
    """Sort random floats."""
    source = random.Random(1)  # noqa: S311 - the same numbers everywhere
    numbers = [source.random() for _ in range(_FLOATS)]
    started = time.perf_counter()
    numbers.sort()
    return time.perf_counter() - started


def sha256() -> float:
    """Hash zeros."""
    data = bytes(_HASHED_BYTES)
    started = time.perf_counter()
    hashlib.sha256(data).hexdigest()
    return time.perf_counter() - started


def python_start() -> float:
    """Start an interpreter that imports eight packages, and wait for its end."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", _IMPORTS], check=True)
    return time.perf_counter() - started


def small_files() -> float:
    """Write files of 1 kB and delete them."""
    with tempfile.TemporaryDirectory(dir=".") as folder:
        paths = [f"{folder}/{number}" for number in range(_FILES)]
        content = bytes(1000)
        started = time.perf_counter()
        for path in paths:
            with open(path, "wb") as file:
                file.write(content)
        for path in paths:
            os.unlink(path)
        return time.perf_counter() - started


def fork_and_exec() -> float:
    """Start `true` with fork and exec, not with vfork, and wait for each."""
    started = time.perf_counter()
    for _ in range(_FORKS):
        pid = os.fork()
        if pid == 0:
            os.execv("/bin/true", ["true"])  # noqa: S606 - what is measured
        os.waitpid(pid, 0)
    return time.perf_counter() - started


def stat() -> float:
    """Ask for the metadata of one file again and again."""
    path = str(Path(__file__).absolute())
    started = time.perf_counter()
    for _ in range(_STATS):
        os.stat(path)
    return time.perf_counter() - started


def page_faults() -> float:
    """Touch each page of fresh memory."""
    with mmap.mmap(-1, _TOUCHED_BYTES) as memory:
        started = time.perf_counter()
        for at in range(0, _TOUCHED_BYTES, mmap.PAGESIZE):
            memory[at] = 1
        return time.perf_counter() - started


PROGRAMS = {
    "Python loop, 3 million": python_loop,
    "sort 500,000 floats": sort_floats,
    "SHA-256 of 100 MB": sha256,
    "Python start with 8 imports": python_start,
    "write and delete 2,000 files": small_files,
    "100 × fork + exec": fork_and_exec,
    "50,000 × stat": stat,
    "touch 500 MB of fresh memory": page_faults,
}

if __name__ == "__main__":
    print(PROGRAMS[sys.argv[1]]() * 1000)
