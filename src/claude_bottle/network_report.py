"""Refused connections of a bottle, each with how to allow it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from claude_bottle.results import Refusal
from claude_bottle.state import Record

_BY_RULE = " is not allowed, only "
"""What the reason holds when the method or the path of a request is not in the rules of its host."""
_NOT_LISTED = "not in the allow list"
_LONGEST_PATH = 200  # of the log


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
        if (host, port, reason) not in found:
            found[host, port, reason] = {
                "host": host,
                "port": port if isinstance(port, int) else None,
                "protocol": _text(entry, "protocol"),
                "reason": reason,
                "count": 0,
                "last_at": 0.0,
                "hint": _hint(host, port, entry, record),
            }
        refusal = found[host, port, reason]
        at = entry.get("at")
        refusal["count"] += 1
        refusal["last_at"] = float(at) if isinstance(at, int | float) else 0.0
    return list(found.values())


def _text(entry: Mapping[str, object], key: str) -> str:
    return str(entry.get(key) or "")


def _hint(host: str, port: object, entry: Mapping[str, object], record: Record) -> str:
    """Return how to allow the connection or request in the manifest; "" when no entry would."""
    if not host:
        return ""
    added = _request_rule(host, port, entry) if entry.get("method") else _host_rule(host, port, entry)
    if not added:
        return ""
    files = " or ".join(record.manifest_files) or "the manifest"
    return f"to allow it, add {added} to bottles.{record.bottle}.egress in {files}; it takes effect at the next launch"


def _host_rule(host: str, port: object, entry: Mapping[str, object]) -> str:
    """Return the entry, as JSON, that allows a connection; "" for a name that is refused for another reason.

    The host alone is only for one that no entry names: beside an entry for another port it would allow that port too.
    """
    reason = _text(entry, "reason")
    if entry.get("name") and _NOT_LISTED not in reason:
        return ""
    is_new = reason == _NOT_LISTED or not entry.get("name")
    alone = port in (53, None) or (is_new and port in (80, 443))  # a name is refused before its port is known
    return json.dumps(host if alone else f"{host}:{port}")


def _request_rule(host: str, port: object, entry: Mapping[str, object]) -> str:
    """Return the entry, as JSON, that allows just this request; "" when it was not a rule that refused it.

    Entries are a union, so the host alone would drop every limit of its requests.
    """
    from pydantic import ValidationError  # noqa: PLC0415 - slow to import, and seldom needed

    from claude_bottle.manifest import EgressRule  # noqa: PLC0415

    method, path, upstream = (_text(entry, key) for key in ("method", "path", "upstream"))
    # A "*" would stand for other paths than that of the request, and a path of full length may have been cut.
    if _BY_RULE not in _text(entry, "reason") or "*" in path or len(path) >= _LONGEST_PATH:
        return ""
    wanted = {"host": f"{host}:{port}", "methods": [method], "paths": [path]}
    try:
        rule = EgressRule.model_validate(wanted | ({"upstream": f"http://{upstream}"} if upstream else {}))
    except ValidationError:
        return ""
    return json.dumps(rule.entry())
