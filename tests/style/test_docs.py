"""The make targets, links and gates that documents name exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.style.project import ROOT, files, shown

DOCUMENTS = [path for path in files() if path.suffix == ".md"]
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))
ADRS = sorted((ROOT / "adrs").glob("[0-9]*.md"))


def named_targets(text: str) -> set[str]:
    """Return the make targets that a document tells the reader to run: `make X` as code."""
    code = re.findall(r"```.*?```|`[^`\n]+`", text, re.DOTALL)
    return {target for part in code for target in re.findall(r"^[`\s]*make ([a-z][a-z-]*)", part, re.MULTILINE)}


def linked_files(text: str) -> set[str]:
    """Return the files that a document links to, relative to itself."""
    found = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text)
    return {link for link in found if not re.match(r"[a-z]+:", link)}


def named_sources(text: str) -> set[str]:
    """Return the source files that a document names as code, with their folder: `host/files.py`."""
    return set(re.findall(r"`([\w./-]+/[\w.-]+\.(?:py|c|h))`", text))


@pytest.mark.parametrize("document", DOCUMENTS, ids=shown)
def test_a_document_names_only_make_targets_that_exist(document: Path) -> None:
    assert named_targets(document.read_text()) - TARGETS == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=shown)
def test_a_document_links_only_to_files_that_exist(document: Path) -> None:
    assert [link for link in linked_files(document.read_text()) if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=shown)
def test_a_document_names_only_source_files_that_exist(document: Path) -> None:
    folders = (ROOT, ROOT / "src/pyro_mcp", document.parent)
    sources = named_sources(document.read_text())

    assert [name for name in sources if not any((folder / name).exists() for folder in folders)] == []


def test_targets_and_links_are_seen_in_a_document() -> None:
    text = "Run `make demo`, make tea,\n```\nmake test\n```\nsee [a](docs/a.md#b) and [c](https://example.org)."

    assert named_targets(text) == {"demo", "test"}
    assert linked_files(text) == {"docs/a.md"}
    assert named_sources("In `host/files.py`, not `files.py` or host/x.py.") == {"host/files.py"}


def test_make_help_describes_every_target_that_is_for_people() -> None:
    described = set(re.findall(r"^([a-z][a-z-]*):.*## ", MAKEFILE, re.MULTILINE))

    assert {target for target in TARGETS if not target.startswith("setup")} == described


def test_decisions_are_numbered_without_gaps() -> None:
    assert [path.name[:5] for path in ADRS] == [f"{number:04d}-" for number in range(1, len(ADRS) + 1)]


def test_a_decision_opens_with_its_number_and_title() -> None:
    assert [shown(path) for path in ADRS if not path.read_text().startswith(f"# {int(path.name[:4])}. ")] == []


def test_continuous_integration_runs_the_gates() -> None:
    gates = r"for target in check scan-tls demo test test-newer-python test-kvm dist-check;.*env -i .*make \"\$target\""
    assert re.search(gates, (ROOT / ".ci/run").read_text(), re.DOTALL)
