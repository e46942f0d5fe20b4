"""A real PostgreSQL for tests: Debian's, on a socket in a folder of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import psycopg

from moot.server.database.database import Database
from tests.waiting import until

_SECONDS = 60.0
_TEMPLATE = "migrated"
_NUMBERS = count(1)


def find_programs() -> Path | None:
    """Return the folder of PostgreSQL's programs, the newest version; None when it is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: float(path.parts[-3]))
    return found[-1].parent if found else None


@contextmanager
def cluster(programs: Path) -> Iterator[str]:
    """Yield the URL of a running server, without the name of a database."""
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    # It refuses to run as root.
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    user = "postgres" if as_user else pwd.getpwuid(os.getuid()).pw_name
    if as_user:
        shutil.chown(folder, "postgres", "postgres")
    try:
        words = [*as_user, str(programs / "initdb"), "-D", str(folder / "data"), "-A", "trust", "-U", user, "-N"]
        words += ["-E", "UTF8", "--locale=C.UTF-8"]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL, timeout=_SECONDS, cwd="/")
        options = [f"unix_socket_directories={folder}", "listen_addresses=", "fsync=off", "shared_buffers=16MB"]
        options += ["max_connections=200", "log_min_messages=fatal"]
        words = [*as_user, str(programs / "postgres"), "-D", str(folder / "data")]
        for option in options:
            words += ["-c", option]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(words, stdout=log, stderr=log, cwd="/")
        url = f"postgresql://{user}@/NAME?host={folder}"
        try:
            until("PostgreSQL answers", lambda: _answers(url), deadline_seconds=_SECONDS)
            yield url
        finally:
            _stop(programs, as_user, folder)
            process.wait(_SECONDS)
    finally:
        shutil.rmtree(folder)


def _stop(programs: Path, as_user: list[str], folder: Path) -> None:
    words = [*as_user, str(programs / "pg_ctl"), "stop", "-D", str(folder / "data"), "-m", "immediate"]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, timeout=_SECONDS, cwd="/")


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url.replace("NAME", "postgres")).close()
    except psycopg.OperationalError:
        return False
    return True


def new_database(url: str) -> str:
    """Make an empty database with the newest schema; return its URL."""
    with psycopg.connect(url.replace("NAME", "postgres"), autocommit=True) as connection:
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [_TEMPLATE]).fetchone():
            connection.execute(f"CREATE DATABASE {_TEMPLATE}".encode())
            database = Database(url.replace("NAME", _TEMPLATE))
            database.upgrade()
            database.close()
        name = f"test_{next(_NUMBERS)}"
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE}".encode())
    return url.replace("NAME", name)
