"""The JSON schema of a manifest, for editors; shipped as `claude_bottle/bottles.schema.json`."""

from __future__ import annotations

from typing import Any

from claude_bottle.manifest.models import Manifest


def json_schema() -> dict[str, Any]:
    """Return the schema of `bottles.json` and `bottles.toml`."""
    found = Manifest.model_json_schema(mode="validation")
    rule = found["$defs"]["EgressRule"]
    alone = {"type": "string", "description": "NAME[:PORT]: a host name, *.SUFFIX, an address or a network."}
    found["$defs"]["EgressRule"] = {"anyOf": [alone, rule]}
    found["properties"]["$schema"] = {"type": "string", "description": "Where an editor finds this schema."}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_without_titles(found), "title": "Bottles"}


def _without_titles(value: Any) -> Any:
    """Return a schema without the titles that only repeat the names of keys."""
    if isinstance(value, list):
        return [_without_titles(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {key: _without_titles(one) for key, one in value.items() if key != "title" or not isinstance(one, str)}
