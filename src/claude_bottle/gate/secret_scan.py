"""The search for secrets in a push: in every file of every new commit, and in the messages of commits and tags."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from claude_bottle.gate.git import sandbox
from claude_bottle.gate.quarantine import Quarantine
from claude_bottle.gate.scan_program import MOST_FINDINGS, line_digest
from pyro_mcp.errors import DeadlineExceeded, HostCommandFailed, InvalidRequest
from pyro_mcp.host.files import temporary_folder
from pyro_mcp.host.process import Limits, run
from pyro_mcp.visible import visible_line

_SECONDS = 180.0
_LIMITS = Limits(memory_bytes=2 << 30, cpu_seconds=150, file_bytes=1 << 20)


@dataclass(frozen=True)
class Secret:
    """A finding: its kind, its place, and the fingerprint by which the manifest can declare that it is not a secret."""

    kind: str
    place: str
    fingerprint: str

    def __str__(self) -> str:
        return f"{self.kind} in {self.place} (fingerprint {self.fingerprint})"


def find_secrets(quarantine: Quarantine, *, not_secret: Collection[str] = ()) -> list[Secret]:
    """Return what looks like a secret in the new objects, without lines that the upstream has at the same path.

    `not_secret` are fingerprints that are left out. Raises `InvalidRequest` when the search does not end in time, or
    stops because there is too much that only looks like a secret.
    """
    wanted = list(quarantine.new_objects)  # trees too: names can hold secrets
    if not wanted:
        return []
    with temporary_folder() as work:
        quarantine.contents(wanted, into=work / "objects")
        printed = list(_run(work / "objects"))
    found = [one for one in printed if one]
    whole = len(found) == len(printed)
    secrets: dict[Secret, None] = {}
    known: dict[bytes, set[str]] = {}
    for one in found:
        path = quarantine.path_of(one["id"])
        if one["fingerprint"] in not_secret or (path and one["digest"] in _known_lines(quarantine, path, known)):
            continue
        shown = visible_line(os.fsdecode(path), 200) if path else f"the text of {one['id'][:12]}"
        secrets[Secret(one["kind"], f"{shown}, line {one['line']}", one["fingerprint"])] = None
    if not secrets and not whole:
        raise InvalidRequest(f"more than {MOST_FINDINGS} known lines look like secrets: push fewer such files at once")
    return list(secrets)


def _run(objects: Path) -> Iterator[dict[str, str]]:
    python = {Path(one) for one in (*sys.path, sys.prefix, sys.base_prefix) if one and os.path.exists(one)}
    argv = [*sandbox(sorted(python), []), sys.executable, "-P", "-m", "claude_bottle.gate.scan_program"]
    environment = {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONDONTWRITEBYTECODE": "1", "HOME": "/"}
    try:
        with open(objects, "rb") as file:
            done = run(argv, deadline_seconds=_SECONDS, stdin=file, extra_environment=environment, limits=_LIMITS)
    except (HostCommandFailed, DeadlineExceeded) as error:
        raise InvalidRequest("the search for secrets did not end: push less at once") from error
    return (json.loads(line) for line in done.stdout.splitlines())


def _known_lines(quarantine: Quarantine, path: bytes, known: dict[bytes, set[str]]) -> set[str]:
    """Return the digests of the lines that the upstream has at a path."""
    if path not in known:
        quarantine.require_time()
        known[path] = set()
        for base in {quarantine.base_of(update) for update in quarantine.updates} - {None}:
            try:
                content = quarantine.repository.git("cat-file", "blob", f"{base}:{os.fsdecode(path)}")
            except HostCommandFailed:  # the upstream has no such file
                continue
            known[path].update(line_digest(line) for line in content.decode("latin-1").split("\n"))
    return known[path]
