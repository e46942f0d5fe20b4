"""`python -m moot`."""

from __future__ import annotations

import sys

from moot.cli import main

sys.exit(main())
