"""pyro demo ollama: a model on this host decides on a command, and it runs in a virtual machine."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from typing import Any

import pyro_mcp
from pyro_mcp.command_line import Verbs, print_json, progress_line, shown, verb
from pyro_mcp.errors import DeadlineExceeded, HostNotReady, InvalidRequest
from pyro_mcp.results import VmExecResult

_ASK = (
    "Find out which version of git this machine has. Call the tool vm_run exactly once, with one shell command; "
    "then answer in one short sentence."
)
_TOOL = {
    "type": "function",
    "function": {
        "name": "vm_run",
        "description": "Run one shell command in a fresh virtual machine that is deleted afterwards.",
        "parameters": {
            "type": "object",
            "properties": {"command": {"type": "string", "description": "what /bin/sh runs"}},
            "required": ["command"],
        },
    },
}
_LONGEST_ANSWER = 4 * 1024 * 1024
_OUTPUT_FOR_THE_MODEL = 4000  # characters; a small model has a small window
_START = "start Ollama with 'ollama serve', or say where it is with --base-url"


def add(verbs: Verbs) -> None:
    parser = verb(
        verbs,
        "ollama",
        "let an Ollama model use a virtual machine once",
        _demo,
        example="pyro demo ollama --model llama3.2",
    )
    parser.add_argument("--environment", metavar="ENV", default="debian:12", help="default: debian:12")
    parser.add_argument("--model", default="llama3.2", help="a model that can call tools (default llama3.2)")
    parser.add_argument(
        "--base-url",
        metavar="URL",
        default="http://127.0.0.1:11434",
        help="the address of Ollama's API (default: this host)",
    )
    parser.add_argument(
        "--timeout-seconds", type=float, default=300, metavar="S", help="for each answer of the model (default 300)"
    )


def _demo(arguments: argparse.Namespace) -> int:
    chat = _Chat(arguments.base_url, arguments.model, arguments.timeout_seconds)
    _log(f"asking {arguments.model} at {arguments.base_url}")
    asked = chat.say({"role": "user", "content": _ASK})
    command = _command_in(asked, arguments.model)
    _log(f"the model calls vm_run: {shown(command)}")
    with progress_line() as line:
        done = pyro_mcp.Pyro(progress=line).run_in_vm(arguments.environment, command=command)
    _log(f"exit code {done['exit_code']} after {done['duration_ms']:.0f} ms in {done['execution_mode']}")
    said = str(chat.say({"role": "tool", "tool_name": "vm_run", "content": _told(done)}).get("content", "")).strip()
    _log(f"the model says: {shown(said)}")
    if arguments.json:
        print_json({"model": arguments.model, "command": command, "answer": said, "run": done})
    else:
        ran = f"{done['execution_mode']} on {done['accelerator']}, exit code {done['exit_code']}"
        gone = "deleted" if done["cleanup"]["deleted"] else "left behind"
        print(f"summary: {arguments.model} ran one command in {ran}; the machine is {gone}")
    return 0 if done["exit_code"] == 0 else 1


def _log(text: str) -> None:
    print(f"[demo] {text}", file=sys.stderr, flush=True)


def _command_in(message: Mapping[str, Any], model: str) -> str:
    """Return the command that the model wants to run."""
    calls = message.get("tool_calls")
    called = [call["function"] for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
    arguments = called[0].get("arguments") if called and called[0].get("name") == "vm_run" else None
    command = arguments.get("command") if isinstance(arguments, dict) else None
    if not isinstance(command, str) or not command.strip():
        raise HostNotReady(
            f"the model {model} did not call vm_run, it said: {shown(str(message.get('content', ''))[:200])}",
            hint="choose a model that can call tools, with --model; for example: ollama pull llama3.2",
        )
    return command


def _told(done: VmExecResult) -> str:
    kept = {name: str(done[name])[:_OUTPUT_FOR_THE_MODEL] for name in ("stdout", "stderr")}
    return json.dumps({"exit_code": done["exit_code"], **kept})


class _Chat:
    """A conversation over Ollama's /api/chat, which remembers nothing itself."""

    def __init__(self, base_url: str, model: str, timeout_seconds: float) -> None:
        if not base_url.startswith(("http://", "https://")):
            raise InvalidRequest(
                f"{base_url!r} is not an address", hint="for example --base-url http://127.0.0.1:11434"
            )
        if not 0 < timeout_seconds <= 86400:
            raise InvalidRequest("timeout_seconds is above 0 and at most 86400")
        self._address = base_url.rstrip("/") + "/api/chat"
        self._model = model
        self._seconds = timeout_seconds
        self._messages: list[Mapping[str, Any]] = []

    def say(self, message: Mapping[str, Any]) -> Mapping[str, Any]:
        """Send a message to the model; return its answer."""
        self._messages.append(message)
        body = {"model": self._model, "messages": self._messages, "tools": [_TOOL], "stream": False}
        answer = self._posted(json.dumps(body).encode()).get("message")
        if not isinstance(answer, dict):
            raise HostNotReady(f"{self._address} does not answer as Ollama does", hint=_START)
        self._messages.append(answer)
        return answer

    def _posted(self, body: bytes) -> dict[str, Any]:
        import urllib.error  # noqa: PLC0415 - 'pyro --version' must not pay for it
        import urllib.request  # noqa: PLC0415

        request = urllib.request.Request(self._address, body, {"Content-Type": "application/json"})  # noqa: S310
        # A model on this host is not reached by way of a proxy.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        end = time.monotonic() + self._seconds
        try:
            with opener.open(request, timeout=self._seconds) as response:
                data = bytearray()
                while part := response.read1(65536):
                    data += part
                    if time.monotonic() > end or len(data) > _LONGEST_ANSWER:
                        raise DeadlineExceeded(f"the answer of {self._address} does not end")
                return _object(bytes(data), self._address)
        except urllib.error.HTTPError as error:
            said = shown(error.read(300).decode(errors="replace").strip())
            raise HostNotReady(f"Ollama refused: {error.code} {said}", hint=f"ollama pull {self._model}") from error
        except TimeoutError as error:
            raise DeadlineExceeded(f"no answer of {self._address} within {self._seconds:g} s") from error
        except OSError as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, TimeoutError):
                raise DeadlineExceeded(f"no answer of {self._address} within {self._seconds:g} s") from error
            raise HostNotReady(f"cannot reach {self._address}: {reason}", hint=_START) from error


def _object(data: bytes, address: str) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise HostNotReady(f"{address} does not answer as Ollama does", hint=_START)
    return found
