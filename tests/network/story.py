"""What the stories of a guest behind a gateway share."""

from __future__ import annotations

from collections.abc import Callable

from tests.network.world import Guest, World

RESET = "Connection reset by peer"
UNKNOWN = "Name or service not known"
STORIES: dict[str, Callable[[World], None]] = {}


def story(function: Callable[[World], None]) -> Callable[[World], None]:
    STORIES[function.__name__] = function
    return function


def refusals(guest: Guest) -> dict[str, str]:
    """Why each name or address was refused, by `NAME:PORT`."""
    entries = [entry for entry in guest.log() if entry["verdict"] == "refused"]
    return {f"{entry['name'] or entry['address']}:{entry['port']}": entry["reason"] for entry in entries}
