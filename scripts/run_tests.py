"""Run the tests; those that fail are run a second time, alone, as CPython's `regrtest --rerun` does.

`python -m scripts.run_tests [ARGUMENT OF PYTEST...]`. The run passes when they pass then: they are listed, because each
of them is a fault of the test or of the code that is to be mended. Nothing is run again when more tests failed than a
loaded machine explains, and when the run has left something behind.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

_MOST_RUN_AGAIN = 5
_FAILED = 1  # pytest.ExitCode.TESTS_FAILED: tests/conftest.py has another for a run that left something


def main(arguments: Sequence[str]) -> int:
    """Return the exit code of pytest: that of the second run where there is one."""
    with tempfile.TemporaryDirectory(prefix="run-tests-") as folder:
        cache = Path(folder, "cache")
        status = _pytest(cache, *arguments)
        failed = _failed(cache)
        if status != _FAILED or not failed:
            return status
        if len(failed) > _MOST_RUN_AGAIN:
            _say(f"{len(failed)} tests failed; at most {_MOST_RUN_AGAIN} are run again")
            return status
        _say(f"{len(failed)} tests failed; they are run again, alone", failed)
        status = _pytest(cache, *arguments, "--last-failed", "--last-failed-no-failures=none")
        if still_failed := _failed(cache):
            _say("failed twice", still_failed)
        elif status == 0:
            _say("passed only when run again", failed)
        return status


def _pytest(cache: Path, *arguments: str) -> int:
    words = [sys.executable, "-m", "pytest", "-o", f"cache_dir={cache}", *arguments]
    return subprocess.run(words, check=False).returncode


def _failed(cache: Path) -> list[str]:
    """Return the tests that failed in the last run."""
    try:
        return sorted(json.loads((cache / "v/cache/lastfailed").read_text()))
    except FileNotFoundError:
        return []


def _say(what: str, tests: Sequence[str] = ()) -> None:
    print(f"\n== {what}{':' * bool(tests)}", *(f"   {test}" for test in tests), sep="\n", flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
