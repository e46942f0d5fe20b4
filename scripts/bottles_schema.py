"""Write the JSON schema of a manifest, and the table of its keys in docs/bottles.md, from the models.

Run it by `.venv/bin/python -m scripts.bottles_schema`. What a key means is the text below it in the models.
"""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from claude_bottle.manifest import (
    AgentConfig,
    BottleConfig,
    BudgetConfig,
    EgressRule,
    GitConfig,
    Manifest,
    PriceConfig,
    ResourcesConfig,
    SecretConfig,
    SuperviseConfig,
)

SHIPPED = Path(__file__).parents[1] / "src/claude_bottle/bottles.schema.json"
DOCUMENT = Path(__file__).parents[1] / "docs/bottles.md"
_BEGIN, _END = "<!-- keys -->\n", "<!-- end of keys -->"
# The parts of a manifest in the order of the table, each with the path of its keys.
PARTS: Mapping[str, type[BaseModel]] = {
    "bottles.NAME": BottleConfig,
    "bottles.NAME.egress[]": EgressRule,
    "bottles.NAME.secrets.VARIABLE": SecretConfig,
    "bottles.NAME.git": GitConfig,
    "bottles.NAME.supervise": SuperviseConfig,
    "bottles.NAME.budget": BudgetConfig,
    "bottles.NAME.budget.prices.MODEL": PriceConfig,
    "bottles.NAME.resources": ResourcesConfig,
    "agents.NAME": AgentConfig,
}


def schema() -> dict[str, Any]:
    """Return the schema of `bottles.json` and `bottles.toml`."""
    found = Manifest.model_json_schema(mode="validation")
    for model in PARTS.values():
        _describe(found["$defs"][model.__name__], model)
    _describe(found, Manifest)
    alone = {"type": "string", "description": meanings(EgressRule)["host"]}
    found["$defs"]["EgressRule"] = {"anyOf": [alone, found["$defs"]["EgressRule"]]}
    found["$defs"]["SuperviseConfig"] = {"anyOf": [{"type": "boolean"}, found["$defs"]["SuperviseConfig"]]}
    found["properties"]["$schema"] = {"type": "string", "description": "Where an editor finds this schema."}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Bottles", **_without_titles(found)}


def meanings(model: type[BaseModel]) -> dict[str, str]:
    """Return what each key of a model means: the text that stands below it in the source, or in that of its base."""
    bases = [base for base in model.__bases__ if base.__module__ == model.__module__]
    found = {name: text for base in bases for name, text in meanings(base).items()}
    body = ast.parse(inspect.getsource(model)).body[0].body  # type: ignore[attr-defined]
    for line, below in pairwise(body):
        match line, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = " ".join(text.split())
    return found


def keys() -> Iterator[str]:
    """Yield the lines of the table of all keys."""
    yield from ("| key | default | |", "|---|---|---|")
    for path, model in PARTS.items():
        for name, meaning in meanings(model).items():
            yield f"| `{path}.{name}` | {_default(model, name)} | {meaning} |"


def _default(model: type[BaseModel], name: str) -> str:
    field = model.model_fields[name]
    value = None if field.is_required() else field.get_default(call_default_factory=True)
    if field.is_required():
        return "required"
    return "" if value is None or isinstance(value, BaseModel) else f"`{json.dumps(value)}`"


def _describe(schema: dict[str, Any], model: type[BaseModel]) -> None:
    schema["description"] = (model.__doc__ or "").partition("\n")[0]
    for name, meaning in meanings(model).items():
        schema["properties"][name]["description"] = meaning


def _without_titles(value: Any) -> Any:
    """Return a schema without the titles, which only repeat the names of keys."""
    if isinstance(value, list):
        return [_without_titles(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {key: _without_titles(one) for key, one in value.items() if key != "title"}


def schema_text() -> str:
    """Return the content of the schema's file."""
    return json.dumps(schema(), indent=2) + "\n"


def renewed(document: str) -> str:
    """Return the document with the table as the models are now."""
    before, begin, rest = document.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    return "".join([before, begin, *(f"{line}\n" for line in keys()), end, after])


if __name__ == "__main__":
    SHIPPED.write_text(schema_text())
    DOCUMENT.write_text(renewed(DOCUMENT.read_text()))
