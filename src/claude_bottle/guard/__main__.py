"""The guard's process: see `claude_bottle.guard.program`."""

import sys

from claude_bottle.guard.program import main

main(sys.argv[1:])
