"""The options that say where a server's data is."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from moot.server.settings import Settings, default_data_folder

_URL_VARIABLE = "MOOT_DATABASE_URL"


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options to a verb."""
    parser.add_argument("--data-dir", type=Path, metavar="FOLDER", help="default: moot in the XDG data directory")
    parser.add_argument(
        "--database-url",
        metavar="URL",
        help=f"a PostgreSQL database, such as postgresql://user@host/name; with a password, set ${_URL_VARIABLE}",
    )


def settings_of(arguments: argparse.Namespace, **more: Any) -> Settings:
    """Return the settings that the options give."""
    return Settings(
        data_folder=(arguments.data_dir or default_data_folder()).absolute(),
        database_url=arguments.database_url or os.environ.get(_URL_VARIABLE, ""),
        **more,
    )
