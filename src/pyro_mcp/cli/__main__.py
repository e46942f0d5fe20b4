"""`python -m pyro_mcp.cli`."""

from __future__ import annotations

import sys

from pyro_mcp.cli import main

sys.exit(main())
