"""`python -m claude_bottle.cli`."""

from __future__ import annotations

import sys

from claude_bottle.cli import main

sys.exit(main())
