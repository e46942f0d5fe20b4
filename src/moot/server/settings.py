"""The settings with which a space server is started."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

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
