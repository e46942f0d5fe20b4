"""Points in time as text: ISO 8601 in UTC with microseconds and offset, so that their order is that of the text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from pyro_mcp.errors import InvalidRequest


def now() -> str:
    """Return the present time."""
    return _text(datetime.now(UTC))


def seconds_from_now(seconds: float) -> str:
    """Return the time that many seconds from now; a negative number is a time in the past."""
    return _text(datetime.now(UTC) + timedelta(seconds=seconds))


def seconds_since(past: str) -> float:
    """Return how many seconds ago a time was."""
    return (datetime.now(UTC) - datetime.fromisoformat(past)).total_seconds()


def parsed(given: str, name: str) -> str:
    """Return a time that a client gave, in our form. Raises `InvalidRequest`; without an offset it is UTC."""
    try:
        moment = datetime.fromisoformat(given.strip().replace(" ", "+"))
    except ValueError:
        raise InvalidRequest(f"{name} is not a time in ISO 8601, such as {now()}: {given[:50]!r}") from None
    try:
        return _text(moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC))
    except OverflowError:
        raise InvalidRequest(f"{name} is not a time between the years 1 and 9999: {given[:50]!r}") from None


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds")
