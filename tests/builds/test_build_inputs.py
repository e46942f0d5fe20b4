"""What an environment is built from, and which files a build takes from the host."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pyro_mcp.builds.build_definition import read_build_definition
from pyro_mcp.builds.build_plan import read_build_plan
from pyro_mcp.builds.copied_files import BuildContext, CopySource
from pyro_mcp.environments import ignored_by, parse_dockerfile
from pyro_mcp.errors import InvalidRequest, NotFound, PyroError


def devcontainer(folder: Path, **content: object) -> Path:
    path = folder / ".devcontainer/devcontainer.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text("// a comment\n" + json.dumps(content)[:-1] + ",}")
    return path


def test_a_dockerfile_is_found_in_its_folder_which_is_the_context(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM debian:12\n")
    definition = read_build_definition(tmp_path, None)
    assert (definition.path, definition.context, definition.project) == (tmp_path / "Dockerfile", tmp_path, None)


def test_a_devcontainer_with_an_image_is_a_dockerfile_and_commands_in_the_project(tmp_path: Path) -> None:
    path = devcontainer(
        tmp_path,
        image="debian:12",
        containerEnv={"A": 'say "hi" $HOME', "P": "${containerEnv:PATH}:/x", "W": "${containerWorkspaceFolder}/y"},
        remoteEnv={"L": "${localEnv:HOME}"},
        postCreateCommand={"one": "make deps", "two": ["pip", "install", "."]},
        features={"ghcr.io/devcontainers/features/node:1": {}},
    )
    definition = read_build_definition(path, None)
    first, *rest = parse_dockerfile(definition.dockerfile)
    assert first.text == "debian:12"
    environ = {key: value for one in rest for key, value in one.assignments({"PATH": "/bin", "HOME": "/root"}).items()}
    assert environ == {"A": 'say "hi" /root', "P": "/bin:/x", "W": "/workspace/y", "L": ""}
    assert [one.json_words for one in parse_dockerfile(definition.project_instructions)] == [
        ("/bin/sh", "-c", "make deps"), ("pip", "install", "."),
    ]  # fmt: skip
    assert (definition.project, definition.ignored) == (tmp_path, ["features is not supported"])


def test_a_devcontainer_with_a_dockerfile_has_its_context_arguments_and_target(tmp_path: Path) -> None:
    path = devcontainer(
        tmp_path, build={"dockerfile": "D", "context": "..", "args": {"V": "1"}, "target": "dev"}, remoteUser="me"
    )
    (path.parent / "D").write_text("FROM debian:12 AS dev\n")
    definition = read_build_definition(path, None)
    assert definition.context.resolve() == tmp_path.resolve()
    assert (definition.build_args, definition.target) == ({"V": "1"}, "dev")
    assert (definition.project, definition.ignored) == (None, ["remoteUser is not supported"])


@pytest.mark.parametrize(
    "content",
    [
        {}, {"image": 5}, {"image": "a\nRUN b"}, {"dockerComposeFile": "x.yml"},
        {"image": "a", "containerEnv": {"A": 1}},
        {"image": "a", "containerEnv": {"A B": "1"}}, {"build": {"dockerfile": "missing"}},
        {"image": "a", "containerEnv": {"A": "${unknown:x}"}},
    ],
)  # fmt: skip
def test_a_devcontainer_that_cannot_be_built_is_refused(tmp_path: Path, content: dict[str, object]) -> None:
    with pytest.raises((InvalidRequest, NotFound)):
        read_build_definition(devcontainer(tmp_path, **content), None)


def test_arguments_before_the_first_stage_count_in_from_alone() -> None:
    plan = read_build_plan("ARG BASE=a TAG\nFROM ${BASE}:${TAG} AS One\nFROM one\nRUN x", {"TAG": "2"})
    assert [stage.from_instruction.expanded_words({**plan.args})[0] for stage in plan.stages] == ["a:2", "one"]
    assert plan.find("ONE", before=1) is plan.stages[0]
    assert plan.find("one", before=0) is None
    assert plan.target("one") is plan.stages[0] and plan.target("1") is plan.target(None)
    with pytest.raises(NotFound, match="no stage 'two'"):
        plan.target("two")


@pytest.mark.parametrize("text", ["", "RUN x", "FROM", "FROM a b", "FROM a AS", "FROM $UNSET"])
def test_a_dockerfile_without_a_proper_from_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        read_build_plan(text, {})


@pytest.fixture
def context(tmp_path: Path) -> BuildContext:
    folder = tmp_path / "context"
    (folder / "a/deep").mkdir(parents=True)
    (folder / "a/deep/file").write_text("1")
    (folder / "a/skip.log").write_text("2")
    (folder / "one.txt").write_text("3")
    (folder / "two.txt").write_text("4")
    (folder / "link").symlink_to("one.txt")
    (folder / "out").symlink_to("/etc")
    os.mkfifo(folder / "a/pipe")
    return BuildContext(folder, ignored_by("**/*.log\ntwo.txt"))


def test_a_build_takes_what_its_context_holds_and_the_dockerignore_leaves(context: BuildContext) -> None:
    (folder,) = context.sources("a")
    assert [edit.path for edit in folder.edits] == [b"", b"deep", b"deep/file"]
    assert [source.name for source in context.sources("*.txt")] == [b"one.txt"]
    (linked,) = context.sources("./link")
    assert b"".join(linked.edits[0].content) == b"3"
    (whole,) = context.sources(".")
    assert (b"out", "l") in [(edit.path, edit.action) for edit in whole.edits]


@pytest.mark.parametrize("pattern", ["../secret", "a/../../x", "out/passwd", "out", "two.txt", "none", "a/*.log"])
def test_nothing_outside_of_the_context_and_nothing_ignored_is_taken(context: BuildContext, pattern: str) -> None:
    with pytest.raises(PyroError):
        context.sources(pattern)


@pytest.mark.parametrize("pattern", ["pipe", "p*e"])
def test_a_pipe_of_the_context_cannot_be_copied_and_the_error_says_so(tmp_path: Path, pattern: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    context = BuildContext(tmp_path, lambda _: False)

    with pytest.raises(InvalidRequest, match="pipe is a pipe, a socket or a device") as caught:
        context.sources(pattern)
    assert "name a file or a folder" in caught.value.hint
    assert [edit.path for source in context.sources(".") for edit in source.edits] == [b""]


def test_a_pipe_of_a_stage_cannot_be_copied_either() -> None:
    with pytest.raises(InvalidRequest, match="pipe is a pipe, a socket or a device"):
        CopySource(b"pipe", [])
