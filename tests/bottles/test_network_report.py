"""What is said about refused connections and requests, and how to allow them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from claude_bottle.network_report import refusals
from claude_bottle.state import Record
from pyro_mcp.network.policy.request_rule import RequestRule, request_refusal

RECORD = Record(
    slug="web-1", agent="web", bottle="dev", backend="fake", folder="/srv", copied=False, harness="sh", created_at=1.0
)
HOST = "api.example.com"


def hinted(**entry: Any) -> object:
    """Return the entry that the hint for one refusal suggests; None without a hint."""
    [found] = refusals([{"verdict": "refused", "name": HOST, "port": 443, "protocol": "tcp", **entry}], RECORD)
    if not found["hint"]:
        return None
    return json.loads(found["hint"].partition("add ")[2].rpartition(" to bottles.dev.egress")[0])


def of_request(method: str, path: str, **more: Any) -> dict[str, Any]:
    reason = request_refusal([RequestRule(("GET",), ("/v1/*",))], method, path.encode())
    return {"protocol": "http", "method": method, "path": path, "reason": reason, **more}


def test_a_refused_request_is_allowed_by_its_method_and_path_and_never_by_its_host_alone() -> None:
    assert hinted(**of_request("DELETE", "/v1/x")) == {
        "host": f"{HOST}:443",
        "methods": ["DELETE"],
        "paths": ["/v1/x"],
    }
    led = of_request("POST", "/", upstream="127.0.0.1:8080")
    assert hinted(**led) == {
        "host": f"{HOST}:443",
        "methods": ["POST"],
        "paths": ["/"],
        "upstream": "http://127.0.0.1:8080",
    }


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v2/*"), ("GET", "/v2/../x"), ("GET", "/" + "x" * 199), ("get", "/v1/x"), ("GET", "*")],
)
def test_a_request_that_no_entry_can_name_alone_has_no_hint(method: str, path: str) -> None:
    assert hinted(**of_request(method, path)) is None


def test_a_request_that_no_rule_refused_has_no_hint() -> None:
    entry = of_request("GET", "/v1/x") | {"reason": "this connection is for a, but the request's Host field is not"}
    assert hinted(**entry) is None


def test_a_host_that_is_not_listed_is_allowed_alone_and_a_further_port_by_its_number() -> None:
    assert hinted(protocol="dns", port=None, reason="not in the allow list") == HOST
    assert hinted(port=80, reason="tcp port 80 is not in the allow list") == f"{HOST}:80"
    assert hinted(port=5432, reason="tcp port 5432 is not in the allow list") == f"{HOST}:5432"
    assert hinted(name=None, address="192.0.2.1", reason="not in the allow list") == "192.0.2.1"


def test_a_listed_host_that_is_refused_for_another_reason_has_no_hint() -> None:
    assert hinted(reason="the name has no address") is None
