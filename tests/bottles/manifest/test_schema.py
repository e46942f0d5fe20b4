"""The schema and the table of keys are those of the models, and an editor and we accept the same files."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import jsonschema
import pytest
from pydantic import BaseModel

from claude_bottle.errors import ManifestError
from claude_bottle.manifest import Manifest
from scripts.bottles_schema import DOCUMENT, PARTS, SHIPPED, meanings, renewed, schema_text

_RENEW = "run: .venv/bin/python -m scripts.bottles_schema"


def test_the_shipped_schema_is_that_of_the_models() -> None:
    assert SHIPPED.read_text() == schema_text(), _RENEW


def test_the_document_has_the_table_of_all_keys() -> None:
    document = DOCUMENT.read_text()

    assert renewed(document) == document, _RENEW
    assert renewed(document.replace("`agents.NAME.bottle`", "")) == document


def test_every_key_has_a_meaning() -> None:
    models: list[type[BaseModel]] = [*PARTS.values(), Manifest]
    for model in models:
        assert meanings(model).keys() == model.model_fields.keys()


def editor_accepts(obj: object) -> bool:
    return bool(jsonschema.Draft202012Validator(json.loads(SHIPPED.read_text())).is_valid(obj))


def we_accept(obj: object) -> bool:
    try:
        Manifest.from_json_obj(obj)
    except ManifestError:
        return False
    return True


FULL: dict[str, Any] = {
    "$schema": "./bottles.schema.json",
    "bottles": {
        "dev": {
            "environment": "debian:12-agent",
            "packages": ["git", "ripgrep=13.0.0-4"],
            "egress": ["a.example", {"host": "b.example:8443", "methods": ["GET"], "paths": ["/*"]}],
            "secrets": {"T": {"env": "T", "hosts": ["a.example"]}, "U": {"file": "/f", "hosts": ["b.c"], "basic": "u"}},
            "git": {"user_name": "A", "user_email": "a@b.c"},
            "supervise": False,
            "budget": {"requests": 1, "tokens": 2, "usd": 0.5},
            "env": {"A": "1"},
            "resources": {"vcpu_count": 1, "mem_mib": 512, "ttl_seconds": 60},
            "accelerator": "uml",
        }
    },
    "agents": {
        "demo": {
            "bottle": "dev",
            "prompt": "x",
            "skills": ["s"],
            "harness": ["sh", "-c", "exit"],
            "model": "m",
            "args": ["-p"],
        }
    },
}


@pytest.mark.parametrize("obj", [{}, {"bottles": {"dev": {}}}, FULL])
def test_an_editor_accepts_what_we_accept(obj: object) -> None:
    assert editor_accepts(obj) and we_accept(obj)


@pytest.mark.parametrize(
    "dev",
    [
        [],
        {"egres": []},
        {"egress": [7]},
        {"egress": [{"hst": "a.example"}]},
        {"egress": [{"host": "a.example", "methods": []}]},
        {"secrets": {"T": {"env": "T"}}},
        {"secrets": {"T": {"env": "T", "hosts": []}}},
        {"secrets": {"T": {"env": "T", "hosts": ["a.b"], "value": "x"}}},
        {"resources": {"vcpu_count": 0}},
        {"resources": {"vcpu_count": "1"}},
        {"supervise": "yes"},
        {"accelerator": "none"},
    ],
)
def test_an_editor_refuses_what_has_a_wrong_key_or_kind_as_we_do(dev: object) -> None:
    assert not editor_accepts({"bottles": {"dev": dev}}) and not we_accept({"bottles": {"dev": dev}})


def test_without_the_extra_a_manifest_is_refused_with_what_to_install() -> None:
    program = (
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'pydantic': raise ModuleNotFoundError(\"No module named 'pydantic'\", name=name)\n"
        "sys.meta_path.insert(0, Missing())\n"
        "from claude_bottle.cli import main\n"
        "sys.exit(main(['check', '--manifest', 'none.json']))\n"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)

    assert (told.returncode, told.stdout) == (5, "")
    assert "pip install 'pyro-mcp[bottles]'" in told.stderr
    assert "Traceback" not in told.stderr


def test_the_version_is_told_without_loading_what_only_a_manifest_needs() -> None:
    program = (
        "import sys; from claude_bottle.cli.program import command_parser; command_parser()\n"
        "print({'pydantic', 'cryptography', 'pyro_mcp.network', 'mcp'} & set(sys.modules))"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)

    assert told.stdout == "set()\n"
