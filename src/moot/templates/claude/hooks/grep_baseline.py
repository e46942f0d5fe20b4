"""Tell when the same search finds another number of lines than before in this session.

The counts are in the user's cache folder: other users can neither read nor replace them.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import tempfile

_MOST_SEARCHES = 500


def main() -> None:
    """Compare the count with the last one, and keep it."""
    given = json.load(sys.stdin)
    session, search = (given.get("session_id"), given.get("tool_input")) if isinstance(given, dict) else ("", None)
    if not isinstance(search, dict):
        return
    pattern, path = search.get("pattern"), search.get("path") or "."
    if not session or not pattern:
        return
    count = len(_text(given.get("tool_response")).splitlines())
    name = re.sub(r"[^A-Za-z0-9_-]", "_", str(session))[:100]
    file = os.path.join(_folder(), f"grep-{name}.json")
    counts = _read(file)
    key = hashlib.sha256(json.dumps([pattern, path, search.get("glob"), search.get("type")]).encode()).hexdigest()
    before = counts.pop(key, None)
    counts[key] = count
    _write(file, dict(list(counts.items())[-_MOST_SEARCHES:]))
    if before is not None and before != count:
        notice = f"NOTICE: grep baseline drift: {pattern!r} in {path} found {before} lines, now {count}"
        print(notice, file=sys.stderr)
        context = {"hookEventName": "PostToolUse", "additionalContext": notice}
        print(json.dumps({"hookSpecificOutput": context}))


def _text(response: object) -> str:
    """Return the lines of a tool's answer, which is a text or an object with one."""
    if isinstance(response, dict):
        names = response.get("filenames")
        return str(response.get("content") or "\n".join(names if isinstance(names, list) else []))
    return str(response or "")


def _folder() -> str:
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):  # a relative one counts for nothing (XDG Base Directory Specification)
        base = os.path.expanduser("~/.cache")
    folder = os.path.join(base, "moot")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    return folder


def _read(file: str) -> dict[str, int]:
    try:
        with open(file, encoding="utf-8") as found:
            counts = json.load(found)
    except (OSError, ValueError):
        return {}
    return counts if isinstance(counts, dict) else {}


def _write(file: str, counts: dict[str, int]) -> None:
    fd, scratch = tempfile.mkstemp(dir=os.path.dirname(file))
    with open(fd, "w", encoding="utf-8") as made:
        json.dump(counts, made)
    os.replace(scratch, file)


if __name__ == "__main__":
    main()
