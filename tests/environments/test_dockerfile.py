"""What a Dockerfile and a .dockerignore say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyro_mcp.environments import ignored_by, normalize_image_name, parse_dockerfile
from pyro_mcp.errors import InvalidRequest, PyroError


def test_instructions_have_their_lines_and_continuations_are_joined() -> None:
    text = "# a comment\n\nfrom debian:12\nRUN one \\\n  # why\n\n  && two\n\tEnv A=b\n"
    found = parse_dockerfile(text)
    assert [(one.line, one.keyword, " ".join(one.text.split())) for one in found] == [
        (3, "FROM", "debian:12"), (4, "RUN", "one && two"), (8, "ENV", "A=b"),
    ]  # fmt: skip


def test_another_escape_character_can_be_chosen() -> None:
    (one,) = parse_dockerfile("# syntax=docker/dockerfile:1\n# escape=`\nRUN a `\n b\\\n")
    assert one.text.split() == ["a", "b\\"]


def test_flags_come_before_the_arguments() -> None:
    (one,) = parse_dockerfile("COPY --from=build --chown=1:2 --link a --b /c")
    assert (one.flags, one.text) == ({"from": "build", "chown": "1:2", "link": ""}, "a --b /c")


def test_the_json_form_is_words_and_what_is_no_json_is_a_line_for_the_shell() -> None:
    one, other = parse_dockerfile('RUN ["a", "b c"]\nRUN [ -f x ] && y')
    assert (one.json_words, other.json_words) == (("a", "b c"), None)


def test_here_documents_belong_to_their_instruction() -> None:
    text = "RUN <<EOF\n  one\n# no comment\nEOF\nCOPY <<-'A' <<B /dest/\n\tx $Y\n\tA\nz\nB\nRUN cat <<<EOF\n"
    run, copy, string = parse_dockerfile(text)
    assert run.here_documents[0].content == "  one\n# no comment\n"
    assert [(one.name, one.content, one.expands) for one in copy.here_documents] == [
        ("A", "x $Y\n", False), ("B", "z\n", True),
    ]  # fmt: skip
    assert (string.line, string.here_documents) == (10, ())


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$A", "1"), ("${A}x", "1x"), ("$Ax", ""), ("\\$A", "$A"), ("'$A'", "$A"), ('"$A b"', "1 b"), ("a\\ b", "a b"),
        ("${N:-d}", "d"), ("${E:-d}", "d"), ("${E-d}", ""), ("${A:+yes}", "yes"), ("${N:+yes}", ""),
        ("${N:-${A}}", "1"),        ("$", "$"), ("a$", "a$"), ("C:\\\\x", "C:\\x"),
    ],
)  # fmt: skip
def test_variables_stand_for_their_values(text: str, value: str) -> None:
    (one,) = parse_dockerfile(f"ENV X={text}")
    assert one.expand(text, {"A": "1", "E": ""}) == value


@pytest.mark.parametrize(
    ("line", "pairs"),
    [
        ("ENV A=1 B='x y' C=$D", {"A": "1", "B": "x y", "C": "d"}), ("ENV A some words", {"A": "some words"}),
        ('LABEL "a b"="c d"', {"a b": "c d"}), ("ENV A=", {"A": ""}),
    ],
)  # fmt: skip
def test_pairs_are_read_in_both_forms(line: str, pairs: dict[str, str]) -> None:
    (one,) = parse_dockerfile(line)
    assert one.assignments({"D": "d"}) == pairs


@pytest.mark.parametrize(
    ("text", "number", "said"),
    [
        ("FROM a\n\nBAKE b", 3, "no instruction 'BAKE'"), ("FROM a\nRUN", 2, "needs arguments"),
        ("FROM a\nRUN <<EOF\nx", 2, "not terminated"), ("# escape=x\nFROM a", 1, "escape"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_line(text: str, number: int, said: str) -> None:
    with pytest.raises(InvalidRequest, match=f"^line {number}: .*{said}"):
        parse_dockerfile(text)


@pytest.mark.parametrize("line", ["ENV A", "ENV A='b", "ENV A=1 b", "ENV A=${B", "ENV A=${B%x}", "ENV A=${N:?gone}"])
def test_values_that_cannot_be_are_refused_with_their_line(line: str) -> None:
    _, one = parse_dockerfile(f"FROM a\n{line}")
    with pytest.raises(InvalidRequest, match=r"^line 2: ENV: "):
        one.assignments({})


@given(st.text(alphabet="FROMRUNENV \n\\\"'$#{}<<-EOF=[],:`\t", max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        for one in parse_dockerfile(text):
            one.expanded_words({})
            one.assignments({})
    except PyroError:
        pass


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("python", "oci:docker.io/library/python:latest"), ("python:3.12", "oci:docker.io/library/python:3.12"),
        ("team/tool", "oci:docker.io/team/tool:latest"), ("ghcr.io/a/b:1", "oci:ghcr.io/a/b:1"),
        ("localhost:5000/a", "oci:localhost:5000/a:latest"), ("oci:docker.io/a/b:1", "oci:docker.io/a/b:1"),
        (f"a@sha256:{'0' * 64}", f"oci:docker.io/library/a:latest@sha256:{'0' * 64}"),
    ],
)  # fmt: skip
def test_an_image_has_the_name_that_dockerfiles_give_it(reference: str, name: str) -> None:
    assert normalize_image_name(reference) == name


@pytest.mark.parametrize(
    ("rules", "path", "ignored"),
    [
        ("node_modules", "node_modules/a/b", True), ("node_modules", "x/node_modules", False),
        ("**/node_modules", "x/y/node_modules/z", True), ("**/node_modules", "node_modules", True),
        ("*.log", "a.log", True), ("*.log", "x/a.log", False), ("**/*.log", "x/a.log", True), ("/a/", "a", True),
        ("*\n!keep", "keep", False), ("*\n!keep", "other", True), ("!keep\n*", "keep", True), ("# a\n\n", "a", False),
        ("a?c", "abc", True), ("a[0-9]", "a5", True), ("a[^0-9]", "a5", False), ("a.c", "abc", False),
    ],
)  # fmt: skip
def test_a_dockerignore_says_what_is_left_out(rules: str, path: str, ignored: bool) -> None:
    assert ignored_by(rules)(path) is ignored
