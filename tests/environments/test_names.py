from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyro_mcp.environments.names import check_custom_name, folder_name, is_custom_name, parse_image_reference
from pyro_mcp.environments.source_by_name import find_source
from pyro_mcp.errors import InvalidRequest, UnknownEnvironment

_DIGEST = "sha256:" + "0a" * 32


def test_an_oci_name_is_taken_apart() -> None:
    name = parse_image_reference(f"oci:registry.example:5000/team/tool:1.0@{_DIGEST}")
    assert (name.registry, name.repository, name.tag, name.digest) == (
        "registry.example:5000", "team/tool", "1.0", _DIGEST,
    )  # fmt: skip
    assert name.at(_DIGEST) == f"registry.example:5000/team/tool@{_DIGEST}"


@pytest.mark.parametrize(
    "name",
    [
        "oci:", "oci:alpine", "oci:alpine:3.20", "oci:library/alpine:3.20", "oci:docker.io/alpine",
        "oci:docker.io/Alpine:3", "oci:docker.io/../x:1", "oci:docker.io/a//b:1", "oci:docker.io/a:-x",
        "oci:docker.io/a:1@sha256:12", f"oci:docker.io/a@{_DIGEST}", f"oci:docker.io/a:1@{_DIGEST.upper()}",
        "oci:-x.io/a:1", "oci:user@docker.io/a:1", "oci:docker.io/a:1\n", "oci:docker.io/a:1 --help",
        "oci:docker.io:123456/a:1", "oci:docker.io/" + "a" * 400 + ":1",
    ],
)  # fmt: skip
def test_a_malformed_oci_name_is_refused_with_an_example(name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        find_source(name)
    assert "oci:docker.io/library/alpine:3.20" in caught.value.hint


@pytest.mark.parametrize(
    ("registry", "loopback"),
    [
        ("localhost", True), ("localhost:5000", True), ("127.0.0.1:5000", True), ("[::1]:5000", True),
        ("localhost.example", False), ("127.0.0.1.example:5000", False), ("docker.io", False), ("[::2]:1", False),
    ],
)  # fmt: skip
def test_only_this_machine_counts_as_loopback(registry: str, loopback: bool) -> None:
    assert parse_image_reference(f"oci:{registry}/a:1").loopback is loopback


def test_an_unknown_environment_names_what_is_near_and_all_there_are() -> None:
    with pytest.raises(UnknownEnvironment) as caught:
        find_source("debain:12")
    assert "did you mean debian:12" in caught.value.hint
    assert "debian:12-base, debian:12-build" in caught.value.hint


@given(st.text())
def test_any_other_text_is_an_unknown_environment_or_an_invalid_request(name: str) -> None:
    for candidate in (f"oci:{name}", f"x{name}"):
        with pytest.raises(InvalidRequest):
            find_source(candidate)


@given(st.text(), st.text())
def test_different_environments_have_different_folders(first: str, second: str) -> None:
    assert (folder_name(first) == folder_name(second)) is (first == second)
    assert "/" not in folder_name(first)
    assert not folder_name(first).startswith(".")
    assert len(folder_name(first)) < 100


@pytest.mark.parametrize("name", ["a", "my-project", "my_project.2", "project:1.2", "x:Tag_1"])
def test_a_user_may_give_a_plain_name_to_an_environment(name: str) -> None:
    check_custom_name(name)
    assert is_custom_name(name)


@pytest.mark.parametrize(
    "name", ["", "Up", "../x", "a/b", "-a", "a-", "a:", "a:b:c", "oci:a", "debian:13", "a b", "a\n", "x" * 101]
)
def test_any_other_name_is_refused(name: str) -> None:
    assert not is_custom_name(name)
    with pytest.raises(InvalidRequest):
        check_custom_name(name)
