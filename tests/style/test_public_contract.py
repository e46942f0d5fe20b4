"""The public contract lists exactly what the code has, and every command that a document shows exists."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from claude_bottle.cli.program import command_parser as bottle_parser
from pyro_mcp.cli.program import command_parser
from pyro_mcp.command_line import verbs
from scripts.public_contract import DOCUMENT, TABLES, renewed
from tests.style.project import files, shown

CONTRACT = DOCUMENT.read_text()
DOCUMENTS = [path for path in files() if path.suffix == ".md" and path.name != "CHANGELOG.md"]
_ENDS = {"--", "|", "||", "&&", ";", ">", "<", "…", "..."}


def test_the_public_contract_is_what_the_code_says() -> None:
    assert renewed(CONTRACT) == CONTRACT, "run: .venv/bin/python -m scripts.public_contract"


@pytest.mark.parametrize("table", TABLES)
def test_a_missing_or_an_invented_row_is_seen(table: str) -> None:
    rows = list(TABLES[table]())[2:]

    assert rows
    for row in rows:
        assert renewed(CONTRACT.replace(f"{row}\n", "", 1)) == CONTRACT
        assert f"{row}\n{row}" not in renewed(CONTRACT.replace(row, f"{row}\n{row}", 1))


def test_a_table_that_has_no_place_in_the_document_is_seen() -> None:
    with pytest.raises(KeyError, match="modes"):
        renewed(CONTRACT.replace("<!-- end of modes -->", ""))


def test_every_command_takes_json() -> None:
    found = [*verbs(command_parser()), *verbs(bottle_parser())]
    assert [verb.prog for verb in found if "--json" not in verb._option_string_actions] == []


def commands_in(text: str) -> Iterator[str]:
    """Yield the command lines of `pyro` and `claude-bottle` that a document shows as code."""
    for part in re.findall(r"```.*?```|`[^`]+`", text, re.DOTALL):
        for line in part.strip("`").splitlines():
            for found in re.findall(r"(?:^|\$\(|\| |\$ )((?:pyro|claude-bottle) [a-z-].*)", line.strip()):
                yield found.split("   ")[0].split("  #")[0]


def command_fault(line: str) -> str:
    """Return what is wrong with a command line, or ""; placeholders stand for any value."""
    parser = bottle_parser() if line.startswith("claude-bottle") else command_parser()
    try:
        words = shlex.split(line.rstrip(")"))[1:]
    except ValueError:
        words = line.split()[1:]
    for word in words:
        if word in _ENDS:
            break
        word = word.rstrip(",;.:").strip("[]()")  # noqa: PLW2901 - as it stands in a sentence
        groups = [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]
        if word.startswith("--") and word.partition("=")[0] not in parser._option_string_actions:
            return f"{parser.prog} has no option {word}"
        if groups and not word.startswith("--"):
            if word in groups[0].choices:
                parser = groups[0].choices[word]
            elif groups[0].required and word.islower():
                return f"{parser.prog} has no command {word}"
    return ""


@pytest.mark.parametrize("document", DOCUMENTS, ids=shown)
def test_a_document_shows_only_commands_that_there_are(document: Path) -> None:
    assert [fault for line in commands_in(document.read_text()) if (fault := command_fault(line))] == []


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("pyro doctor --environment debian:12", ""),
        ("pyro workspace shell attach WORKSPACE_ID SHELL_ID", ""),
        ("pyro run debian:12 -- git --version", ""),
        ("pyro host connect claude-code --mode repro-fix", ""),
        ("pyro workspace snapshots list", "pyro workspace has no command snapshots"),
        ("pyro doctor --jsn", "pyro doctor has no option --jsn"),
        ("pyro bake", "pyro has no command bake"),
        ("claude-bottle check --json", ""),
        ("claude-bottle bake", "claude-bottle has no command bake"),
    ],
)
def test_a_command_that_is_not_there_is_seen(line: str, fault: str) -> None:
    assert command_fault(line) == fault


def test_commands_are_found_where_they_are_shown() -> None:
    text = "`pyro doctor`, prose pyro nothing,\n```\nid=$(pyro workspace list)\ntar c . | pyro run x   # why\n```\n"

    assert list(commands_in(text)) == ["pyro doctor", "pyro workspace list)", "pyro run x"]
