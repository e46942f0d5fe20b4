"""The steps of the demonstration, from the repository with a failing test to the removed bottle."""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from claude_bottle.demo.scripted_model import Answer, Script, Step, serving
from claude_bottle.errors import BottleFailed
from claude_bottle.manifest import LoadedManifest, Manifest
from claude_bottle.network_report import refusals
from claude_bottle.results import DemoReport, DemoStep
from pyro_mcp.errors import DeadlineExceeded
from pyro_mcp.host.files import temporary_folder, write_private
from pyro_mcp.terminal import plain

if TYPE_CHECKING:
    from claude_bottle.backend import Bottle
    from claude_bottle.launch import Launch

AGENT, KEY = "demo", "ANTHROPIC_API_KEY"
TASK = "A test of this repository fails. Find out why, and repair it."
REFUSED_HOST = "example.com"
_API = "api.anthropic.com"
_DEADLINE = 300.0
_OUTPUT = 64 * 1024
_LONGEST_LINE = 140
_MOST_CONNECTIONS = 1000
_FILES = {
    "sum.js": "// Return the sum of two numbers.\nexports.sum = (a, b) => a - b;\n",
    "sum.test.js": (
        'const { test } = require("node:test");\n'
        'const assert = require("node:assert");\n'
        'const { sum } = require("./sum.js");\n\n'
        'test("two and three are five", () => assert.equal(sum(2, 3), 5));\n'
    ),
}
STEPS = (
    Step("node --test", "run the tests"),
    Step(
        f"curl --silent --show-error --max-time 10 https://{REFUSED_HOST}/ || true",
        f"ask {REFUSED_HOST}, which the manifest does not allow",
    ),
    Step("sed -i 's/a - b/a + b/' sum.js", "repair sum.js"),
    Step("node --test", "run the tests again"),
)
CLOSING = "sum.js subtracted; now it adds, and the test passes."


class Launcher(Protocol):
    """The part of `Bottles` that the demonstration uses."""

    def launching(
        self, agent: str, *, backend: str, copy_cwd: bool, args: Sequence[str]
    ) -> AbstractContextManager[Launch]: ...


def demonstrate(
    make: Callable[[Path, LoadedManifest], Launcher], backend: str, say: Callable[[str], None]
) -> DemoReport:
    """Run the demonstration on a backend; `make` returns a `Bottles` for a folder and a manifest.

    Everything is removed at the end, also after an error. Raises `BottleFailed` when the agent did not do what the
    script said, and `DeadlineExceeded` when the agent did not end.
    """
    steps: list[DemoStep] = []
    with temporary_folder() as scratch, ExitStack() as ended:
        key = f"sk-ant-demo-{secrets.token_hex(24)}"
        script = Script(STEPS, CLOSING, key, on_step=lambda step, answer: _tell(say, step, answer))
        port = ended.enter_context(serving(script))
        bottles = make(_repository(scratch), _loaded(_key_file(scratch, key), port))
        started = time.monotonic()
        with _timed(steps, "launch"), ExitStack() as launched:
            launch = launched.enter_context(bottles.launching(AGENT, backend=backend, copy_cwd=True, args=("-p", TASK)))
            ended.push(launched.pop_all())
        placeholder = _placeholder(launch.bottle)
        with _timed(steps, "turn"):
            exit_code, output = _wait(launch.bottle)
        if script.first_request_at is None or [one.failed for one in script.answers] != [True, False, False, False]:
            raise BottleFailed(f"the agent did not do what the script said; it ended with {exit_code}: {output}")
        steps.insert(1, {"name": "first request", "seconds": script.first_request_at - started})
        diff = launch.bottle.diff().patch
        refused = refusals(launch.bottle.network_log(limit=_MOST_CONNECTIONS), launch.record)
        with _timed(steps, "removal"):
            launch.remove()
    return {
        "backend": backend,
        "steps": steps,
        "output": output,
        "diff": diff,
        "refused": refused,
        "placeholder": placeholder,
        "key_arrived": script.with_key > 0 and script.without_key == 0 and placeholder != key,
        "exit_code": exit_code,
    }


def _tell(say: Callable[[str], None], step: Step | None, answer: Answer | None) -> None:
    """Say how the last command ended, and what the next one is."""
    if answer is not None:
        lines = [line.strip() for line in answer.text.splitlines() if line.strip()][:2]
        say(f"{'failed' if answer.failed else 'done'}: {', '.join(lines) or 'no output'}"[:_LONGEST_LINE])
    if step is not None:
        say(f"the script says: {step.purpose}: {step.command}")


def demo_manifest(key_file: Path, port: int) -> Manifest:
    """Return the manifest of the demonstration: the API of the agent's model leads to a port of this host."""
    return Manifest.from_json_obj(
        {
            "bottles": {
                "demo": {
                    "egress": [{"host": _API, "upstream": f"http://127.0.0.1:{port}"}],
                    "secrets": {KEY: {"file": str(key_file), "hosts": [_API], "header": "x-api-key"}},
                }
            },
            "agents": {AGENT: {"bottle": "demo", "prompt": "You repair small programs."}},
        }
    )


def _loaded(key_file: Path, port: int) -> LoadedManifest:
    return LoadedManifest(manifest=demo_manifest(key_file, port), levels={}, digests={}, settings=())


def _repository(scratch: Path) -> Path:
    folder = scratch / "repository"
    folder.mkdir()
    for name, content in _FILES.items():
        (folder / name).write_text(content)
    return folder


def _key_file(scratch: Path, key: str) -> Path:
    path = scratch / "key"
    write_private(path, key.encode())
    return path


@contextmanager
def _timed(steps: list[DemoStep], name: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    steps.append({"name": name, "seconds": time.monotonic() - started})


def _placeholder(bottle: Bottle) -> str:
    """Return what the agent has in place of its key."""
    return bottle.execute(["printenv", KEY]).stdout.decode(errors="replace").strip()


def _wait(bottle: Bottle) -> tuple[int, str]:
    """Wait for the end of the agent; return its exit code and its output."""
    silent, typist = os.pipe()
    late, alarm = os.pipe()
    timer = threading.Timer(_DEADLINE, os.write, (alarm, b"x"))
    timer.daemon = True
    timer.start()
    try:
        with open(silent, "rb") as keys:
            exit_code = bottle.attach(keys, lambda _: None, interrupt=late)
    finally:
        timer.cancel()
        timer.join()
        for fd in (typist, late, alarm):
            os.close(fd)
    if exit_code is None:
        raise DeadlineExceeded(f"the agent did not end within {_DEADLINE:g} s", hint="try again when the host is idle")
    return exit_code, plain(bottle.output(most=_OUTPUT), 80, 24)
