"""Add COUNT decisions to the journal PATH, and report the number of each on standard output: PATH COUNT NAME."""

from __future__ import annotations

import sys
from pathlib import Path

from claude_bottle.audit import Journal

path, count, name = sys.argv[1:]
for number in range(int(count)):
    Journal(Path(path)).add(
        "egress",
        "allowed",
        slug=name,
        bottle=name,
        agent=name,
        who="policy",
        rule=f"{name} {number}",
        what={"n": number},
    )
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()
