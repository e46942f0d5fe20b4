"""Write the JSON schema of a manifest: `.venv/bin/python scripts/bottles_schema.py >FILE`."""

from __future__ import annotations

import json
import sys

from claude_bottle.manifest.schema import json_schema

if __name__ == "__main__":
    sys.stdout.write(json.dumps(json_schema(), indent=2) + "\n")
