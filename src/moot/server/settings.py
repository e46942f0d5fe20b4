"""The settings with which a space server is started."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from moot.toml_tables import TableReader, a_number, read_toml
from pyro_mcp.errors import InvalidRequest

DATABASE_FILE = "space.db"


def default_data_folder() -> Path:
    """Return the folder of the server's files: `moot` in the XDG data directory."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "moot"


@dataclass(frozen=True)
class Limits:
    """The sizes and rates that a server accepts; the lengths of fields are in `api/fields.py`."""

    body_bytes: int = 1 << 20
    body_seconds: float = 30.0
    """The time in which the body of a request must come."""
    requests_per_second: float = 200.0
    """The mean rate of one key; `burst` requests may come at once."""
    burst: int = 400
    sockets_per_actor: int = 64
    sockets: int = 4096
    push_seconds: float = 10.0
    """A subscriber that takes longer than this to receive one frame is dropped."""
    resumed_events: int = 1000
    """The most missed events that a subscriber gets if it does not give `since`."""
    acknowledge_seconds: float = 24 * 3600.0
    """A message that its recipient has not acknowledged after this time is dead."""


RANGES: Mapping[str, tuple[int, int]] = {
    "body_bytes": (65_536, 1 << 20),
    "body_seconds": (1, 600),
    "requests_per_second": (1, 100_000),
    "burst": (1, 100_000),
    "sockets_per_actor": (1, 10_000),
    "sockets": (1, 100_000),
    "push_seconds": (1, 30),
    "resumed_events": (1, 100_000),
    "acknowledge_seconds": (60, 366 * 86_400),
}


def limits_in(file: Path) -> Limits:
    """Return the limits in the table `[limits]` of a file in TOML; those that it leaves out are the usual ones.

    Raises `InvalidRequest` when the file has anything else, or cannot be read.
    """
    try:
        document = read_toml(file)
    except OSError as error:
        raise InvalidRequest(f"{file} cannot be read: {error.strerror}") from error
    reader = TableReader(str(file))
    checks = {name: a_number(*bounds) for name, bounds in RANGES.items()}
    found: dict[str, dict[str, float]] = {}
    reader.read(document, "", {"limits": lambda table: found.update(limits=reader.read(table, "limits", checks))})
    usual = vars(Limits())
    for name, value in found.get("limits", {}).items():
        if isinstance(usual[name], int) and value != int(value):
            reader.report(f"limits.{name}", "must be a whole number")
    reader.finish()
    return Limits(**{name: type(usual[name])(value) for name, value in found.get("limits", {}).items()})


@dataclass(frozen=True)
class Settings:
    """The place of a server's data, and the address on which it listens."""

    data_folder: Path = field(default_factory=default_data_folder)
    database_url: str = ""
    """A PostgreSQL database; "" is the file `space.db` in the data folder."""
    host: str = "127.0.0.1"
    port: int = 8000
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    limits: Limits = field(default_factory=Limits)

    @property
    def database(self) -> str | Path:
        """The URL of PostgreSQL, or the file of SQLite."""
        return self.database_url or self.data_folder / DATABASE_FILE

    @property
    def is_for_others(self) -> bool:
        """Whether other hosts may reach the server."""
        return self.host not in ("127.0.0.1", "::1", "localhost")

    @property
    def address(self) -> str:
        """The URL at which clients of this host reach the server."""
        name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)  # noqa: S104 - it is not bound here
        return f"{'https' if self.tls_certificate else 'http'}://{name}:{self.port}"
