"""The text of a held push for a person: a summary, the log and the diff, with every character visible."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from claude_bottle.gate.commands import ZERO, rule_key
from claude_bottle.gate.git import Repository
from claude_bottle.gate.quarantine import Quarantine
from claude_bottle.gate.remotes import Remote, is_remote_name
from pyro_mcp.errors import InvalidRequest
from pyro_mcp.host.files import write_atomic
from pyro_mcp.visible import visible, visible_line

MOST_SHOWN = 4 << 20
"""The most bytes of a log or a diff that a person is shown; a larger push is not held but refused."""
HELD = "held"
"""The folder of a remote in which each held push has a folder."""
_FILE = "shown.json"
_EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
# git-diff(1): nothing of the content, such as .gitattributes or .mailmap, and no program takes part.
_PLAIN = [
    "--no-ext-diff",
    "--no-textconv",
    "--no-color",
    "--no-renames",
    "--submodule=short",
    "--ignore-submodules=none",
]
_SHOWN_HEADERS = ("tree", "parent", "author", "committer")
_TAG_LINES = 40
_LOG_FORM = "commit %H%nauthor %an <%ae> %aI%ncommitter %cn <%ce> %cI%n%n%w(0,4,4)%B"


@dataclass(frozen=True)
class HeldPush:
    """A held push as text; its only control characters are line ends. `remarks` are for the person who decides."""

    remote: str
    url: str
    summary: str
    remarks: tuple[str, ...]
    log: str
    diff: str

    def brief(self) -> str:
        """Return one line for a list of requests."""
        remarks = "; ".join(f"NOTE {one}" for one in self.remarks)
        return " ".join(self.summary.split()) + (f"; {remarks}" if remarks else "")

    def save(self, folder: Path) -> None:
        """Write the text to a file beside the quarantine."""
        write_atomic(folder / _FILE, json.dumps(asdict(self)))

    @classmethod
    def load(cls, folder: Path) -> HeldPush | None:
        """Return what `save` wrote; None if there is nothing."""
        try:
            found = json.loads((folder / _FILE).read_text())
        except FileNotFoundError:
            return None
        return cls(**{**found, "remarks": tuple(found["remarks"])})


def held_push(folder: Path, rule: Mapping[str, Any]) -> HeldPush | None:
    """Return the text of a push that the gate with this folder holds; None if it holds no such push."""
    name = str(rule.get("remote"))
    return HeldPush.load(folder / name / HELD / rule_key(rule)) if is_remote_name(name) else None


def describe(quarantine: Quarantine, remote: Remote, remarks: Sequence[str]) -> HeldPush:
    """Return the text of a push; raise `InvalidRequest` if it is too long for a person to check."""
    repository, logs, diffs, lines = quarantine.repository, [], [], []
    if quarantine.new_commits:
        given = "".join(f"{one}\n" for one in quarantine.new_commits).encode()
        options = ["--no-walk=unsorted", "--stdin", "--encoding=UTF-8", "--no-show-signature", "--no-notes"]
        options += ["--no-decorate", "--no-mailmap", "--stat=120", "--summary"]
        # What one commit adds and another removes is published too, and not in the diff of both. Of a merge, `-c` shows
        # what differs from all parents: what does not is known, or in a commit of its own.
        several = len(quarantine.new_commits) > 1
        options += ["--patch", "--full-index", "-c"] if several else ["-m", "--first-parent"]
        logs.append(_output(repository, ["log", *options, *_PLAIN, f"--format={_LOG_FORM}"], stdin=given))
        logs.extend(filter(None, [_other_headers(quarantine)]))
    for update in quarantine.updates:
        base = quarantine.base_of(update) or _EMPTY_TREE
        what = "new " if update.old == ZERO else f"{update.old[:12]} .. "
        lines.append(f"{update.ref}: {what}{update.new[:12]}")
        options = ["--full-index", "--stat=120", "--summary", "--patch"]
        diffs.append(_output(repository, ["diff", *options, *_PLAIN, "--end-of-options", base, f"{update.new}^{{}}"]))
        if quarantine.new_objects.get(update.new, ("", 0))[0] == "tag":
            text = _output(repository, ["cat-file", "tag", update.new])
            logs.append(f"tag {update.new}\n{text}")
            lines.extend(_first_lines(text))
    count = len(quarantine.new_commits)
    summary = f"push to {remote.url}: {count} new commit{'' if count == 1 else 's'}\n  " + "\n  ".join(lines)
    return HeldPush(
        remote.name, remote.url, summary, tuple(remarks), _visible("\n".join(logs)), _visible("\n".join(diffs))
    )


def _first_lines(text: str) -> list[str]:
    """Return the first lines of an annotated tag."""
    lines = text.rstrip("\n").split("\n")
    more = [f"  … {len(lines) - _TAG_LINES} more lines, in the log"] if len(lines) > _TAG_LINES else []
    return [*(f"  {visible_line(line, 200)}" for line in lines[:_TAG_LINES]), *more]


def _other_headers(quarantine: Quarantine) -> str:
    """Return the header fields of the new commits that git's log does not show, such as signatures."""
    found = []
    for id_, content in quarantine.read(quarantine.new_commits).items():
        head = os.fsdecode(content).partition("\n\n")[0]
        fields = re.split(r"\n(?! )", head)
        if other := [one for one in fields if one.partition(" ")[0] not in _SHOWN_HEADERS]:
            found.append("\n".join([f"other fields of commit {id_}", *other]))
    if sum(map(len, found)) > MOST_SHOWN:
        raise InvalidRequest("the header fields of the push's commits are too long to be shown to a person")
    return "\n\n".join(found)


def _output(repository: Repository, arguments: list[str], *, stdin: bytes | None = None) -> str:
    kept = bytearray()

    def take(data: bytes) -> None:
        kept.extend(data)
        if len(kept) > MOST_SHOWN:
            raise InvalidRequest(
                f"the push has more than {MOST_SHOWN >> 20} MiB of changes, too much to be shown to a person: push less"
            )

    repository.git(*arguments, stdin=stdin, on_stdout=take)
    return os.fsdecode(bytes(kept))


def _visible(text: str) -> str:
    """Return a text in which all characters but line ends and tabs are visible."""
    lines = text.split("\n")
    return "\n".join(line if line.isascii() and line.isprintable() else visible(line, keep="\t") for line in lines)
