"""The list of scenarios, and what they share."""

from __future__ import annotations

from collections.abc import Callable

from tests.network.testbed import Guest, Testbed

RESET = "Connection reset by peer"
UNKNOWN = "Name or service not known"
SCENARIOS: dict[str, Callable[[Testbed], None]] = {}


def scenario(function: Callable[[Testbed], None]) -> Callable[[Testbed], None]:
    SCENARIOS[function.__name__] = function
    return function


def refusals(guest: Guest) -> dict[str, str]:
    """Return the reason for each refusal, by `NAME:PORT`."""
    entries = [entry for entry in guest.log() if entry["verdict"] == "refused"]
    return {f"{entry['name'] or entry['address']}:{entry['port']}": entry["reason"] for entry in entries}
