"""Refused connections of a bottle, each with how to allow it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from claude_bottle.results import Refusal
from claude_bottle.state import Record


def refusals(entries: Iterable[Mapping[str, object]], record: Record) -> list[Refusal]:
    """Return one refusal for each host, port and reason, in the order in which they first occurred.

    The guest chose the names in the entries, so they are hostile.
    """
    found: dict[tuple[str, object, str], Refusal] = {}
    for entry in entries:
        if entry.get("verdict") != "refused":
            continue
        host, port, reason = (
            str(entry.get("name") or entry.get("address") or ""),
            entry.get("port"),
            _text(entry, "reason"),
        )
        refusal = found.setdefault(
            (host, port, reason),
            {
                "host": host,
                "port": port if isinstance(port, int) else None,
                "protocol": _text(entry, "protocol"),
                "reason": reason,
                "count": 0,
                "last_at": 0.0,
                "hint": _hint(host, port, record),
            },
        )
        at = entry.get("at")
        refusal["count"] += 1
        refusal["last_at"] = float(at) if isinstance(at, int | float) else 0.0
    return list(found.values())


def _text(entry: Mapping[str, object], key: str) -> str:
    return str(entry.get(key) or "")


def _hint(host: str, port: object, record: Record) -> str:
    """Return how to allow the host in the manifest."""
    if not host:
        return ""
    rule = host if port in (80, 443, 53, None) else f"{host}:{port}"  # a name is refused before its port is known
    files = " or ".join(record.manifest_files) or "the manifest"
    return f'to allow it, add "{rule}" to bottles.{record.bottle}.egress in {files}; it takes effect at the next launch'
