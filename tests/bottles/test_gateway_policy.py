"""What the gateway of a bottle is given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from claude_bottle.backend import gateway_policy
from claude_bottle.manifest import Manifest
from pyro_mcp.errors import InvalidRequest

RULE = {"host": "git.example.com", "methods": ["GET"], "paths": ["/owner/*"]}


def manifest(harness: Any = ("sh",), **bottle: Any) -> Manifest:
    return Manifest.from_json_obj(
        {"bottles": {"dev": bottle}, "agents": {"demo": {"bottle": "dev", "harness": harness}}}
    )


@pytest.mark.parametrize("bottle", [{}, {"egress": []}])
def test_a_bottle_without_a_list_reaches_nothing(bottle: dict[str, Any]) -> None:
    rules = gateway_policy.rules_of(manifest(**bottle), "demo")

    assert not rules.allows_name("example.com")
    assert rules.allow != ()


def test_the_api_of_the_model_is_allowed_at_its_port_alone() -> None:
    rules = gateway_policy.rules_of(manifest("claude", egress=["pypi.org"]), "demo")

    assert rules.name_refusal("api.anthropic.com", 443, "tcp") == ""
    assert rules.name_refusal("api.anthropic.com", 80, "tcp") != ""
    assert rules.name_refusal("pypi.org", 80, "tcp") == ""


def test_a_rule_of_the_bottle_for_the_api_replaces_the_one_that_is_always_there() -> None:
    upstream = {"host": "api.anthropic.com", "upstream": "http://127.0.0.1:4444"}
    rules = gateway_policy.rules_of(manifest("claude", egress=[upstream]), "demo")

    assert rules.upstream("api.anthropic.com", 443) == 4444
    assert len(rules.allow) == 1


@pytest.mark.parametrize("host", ["API.Anthropic.com.", "api.anthropic.com.:443"])
def test_a_rule_with_limits_for_the_api_keeps_them_however_its_name_is_spelt(host: str) -> None:
    rules = gateway_policy.rules_of(manifest("claude", egress=[{"host": host, "paths": ["/v1/*"]}]), "demo")

    assert [str(rule) for rule in rules.request_rules("api.anthropic.com", 443)] == ["any method /v1/*"]


def test_a_rule_for_another_port_of_the_api_leaves_the_one_that_is_always_there() -> None:
    rules = gateway_policy.rules_of(manifest("claude", egress=["api.anthropic.com:80"]), "demo")

    assert rules.name_refusal("api.anthropic.com", 443, "tcp") == ""


def test_methods_and_paths_reach_the_gateway_and_end_tls_there(tmp_path: Path) -> None:
    rules = gateway_policy.rules_of(manifest(egress=[RULE]), "demo")

    assert rules.terminated_hosts == ("git.example.com",)
    assert gateway_policy.authority_of(tmp_path / "authority", rules, []) is not None


def test_a_secret_of_two_hosts_has_one_placeholder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERE", "real-value-0123")
    secret = {"env": "HERE", "hosts": ["a.example.com", "b.example.com"], "header": "X-Key"}
    found = gateway_policy.host_secrets(manifest(secrets={"KEY": secret}), "demo")

    assert [(one.name, one.host, one.value, one.header) for one in found] == [
        ("KEY", "a.example.com", "real-value-0123", "X-Key"),
        ("KEY", "b.example.com", "real-value-0123", "X-Key"),
    ]
    assert found[0].placeholder == found[1].placeholder


def test_a_secret_without_a_value_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HERE", raising=False)

    with pytest.raises(InvalidRequest, match="KEY"):
        gateway_policy.host_secrets(manifest(secrets={"KEY": {"env": "HERE", "hosts": ["a.example.com"]}}), "demo")


@pytest.mark.parametrize("place", [{"basic": "x-access-token"}, {"query": "key"}])
def test_a_secret_has_the_place_that_the_manifest_names(monkeypatch: pytest.MonkeyPatch, place: dict[str, str]) -> None:
    monkeypatch.setenv("HERE", "real-value-0123")
    secret = {"env": "HERE", "hosts": ["a.example.com"], **place}

    [found] = gateway_policy.host_secrets(manifest(secrets={"KEY": secret}), "demo")

    assert {name: getattr(found, name) for name in place} == place
    assert not found.in_header
