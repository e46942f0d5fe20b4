"""Whatever a manifest has in it: it is read, or it is a `ManifestError` that a terminal can show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claude_bottle.errors import ManifestError, Problem
from claude_bottle.manifest import AgentConfig, BottleConfig, EgressRule, Manifest, SecretConfig
from claude_bottle.manifest.reading import read_manifest

_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
_KNOWN = {*Manifest.model_fields, *BottleConfig.model_fields, *AgentConfig.model_fields}
_KNOWN |= {*EgressRule.model_fields, *SecretConfig.model_fields, "dev", "vcpu_count", "$schema"}
_KEYS = st.sampled_from(sorted(_KNOWN)) | st.text(max_size=4)
_ANY = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4), max_leaves=12
)
_FIELDS = {name: st.dictionaries(_KEYS, _ANY, max_size=3) | _ANY for name in ("secrets", "env", "resources", "git")}
_BOTTLE = st.fixed_dictionaries({}, optional={**_FIELDS, "egress": st.lists(_ANY, max_size=3), "packages": _ANY})
_MANIFEST = st.fixed_dictionaries(
    {}, optional={"bottles": st.dictionaries(_KEYS, _BOTTLE | _ANY, max_size=2), "agents": _ANY}
)


def problems_of(obj: Any) -> tuple[Problem, ...]:
    """Return what is said about this value; nothing when it is a manifest."""
    try:
        Manifest.from_json_obj(obj)
    except ManifestError as error:
        return error.problems or (Problem("", ""),)
    return ()


def reading_problems(path: Path) -> tuple[Problem, ...]:
    """Return what is said about this file; nothing when it holds an object."""
    try:
        found, _ = read_manifest(path)
    except ManifestError as error:
        return error.problems or (Problem("", ""),)
    return () if isinstance(found, dict) else (Problem("", ""),)


@settings(max_examples=300)
@given(_MANIFEST | _ANY)
def test_any_value_is_a_manifest_or_an_error_with_the_place(obj: Any) -> None:
    assert [one for one in problems_of(obj) if not (one.message and one.path.isprintable())] == []


@settings(max_examples=200)
@given(content=st.binary(max_size=60) | st.text(alphabet='{}[]":,=. \n#ab1', max_size=60).map(str.encode))
@pytest.mark.parametrize("name", ["bottles.json", "bottles.toml"])
def test_any_bytes_are_an_object_or_an_error_with_the_file(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)

    assert [one for one in reading_problems(path) if not (one.message and one.file == str(path))] == []
