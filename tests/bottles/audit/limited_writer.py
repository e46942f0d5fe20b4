"""Add decisions to the journal PATH: one, one while files may not grow, one more; print the error of the second."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

from claude_bottle.audit import Journal
from pyro_mcp.errors import PyroError

journal = Journal(Path(sys.argv[1]))


def add(rule: str) -> None:
    journal.add("egress", "allowed", slug="b-1", bottle="b", agent="a", who="policy", rule=rule, what={})


add("before")
room = journal.path.stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (room + 100, resource.RLIM_INFINITY))
try:
    add("refused")
except PyroError as error:
    sys.stdout.write(str(error))
assert journal.path.stat().st_size == room
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
add("after")
