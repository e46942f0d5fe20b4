"""Commands: how they are run, and the fields of a result that say how they ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from pyro_mcp.engine import OUTPUT_CAP, Command, Outcome, OutputSink
from pyro_mcp.errors import InvalidRequest
from pyro_mcp.hints import Verb
from pyro_mcp.machines.command_hints import with_hint
from pyro_mcp.machines.machine_store import MachineRecord, is_vm
from pyro_mcp.machines.secrets import SecretEnv
from pyro_mcp.results import CommandEnd

MAX_TIMEOUT_SECONDS = 24 * 3600
TIMEOUT_SECONDS, EMULATED_TIMEOUT_SECONDS = 30.0, 120.0
"""How long a command may take unless its caller says so: on a real processor, and on an emulated one."""


@dataclass(frozen=True)
class ExecOptions:
    """How a command is run.

    `timeout_seconds` is None for the default limit; `output_cap` is how many bytes of each stream the result keeps;
    `on_stdout` and `on_stderr` get all output as it comes; `secret_env` selects secrets of the workspace; the command
    is killed when the descriptor `interrupt` becomes readable. Raises `InvalidRequest` for a time out of range.
    """

    timeout_seconds: float | None = None
    stdin: bytes | IO[bytes] | None = None
    output_cap: int = OUTPUT_CAP
    on_stdout: OutputSink | None = None
    on_stderr: OutputSink | None = None
    secret_env: SecretEnv | None = None
    interrupt: int | None = None

    def __post_init__(self) -> None:
        if self.timeout_seconds is not None and not 0 < self.timeout_seconds <= MAX_TIMEOUT_SECONDS:
            raise InvalidRequest(f"timeout_seconds is above 0 and at most {MAX_TIMEOUT_SECONDS} (a day)")

    def time_limit(self, accelerator: str | None) -> float:
        """Return the seconds that a command may take: by default four times as long on an emulated processor."""
        if self.timeout_seconds is not None:
            return self.timeout_seconds
        return EMULATED_TIMEOUT_SECONDS if accelerator == "tcg" else TIMEOUT_SECONDS

    def command(
        self,
        argv: Sequence[str],
        environ: Mapping[str, str],
        *,
        accelerator: str | None,
        cwd: str = "/workspace",
    ) -> Command:
        """Return the command that runs `argv` with these options."""
        return Command(
            argv=argv,
            cwd=cwd,
            environ=environ,
            timeout_seconds=self.time_limit(accelerator),
            stdin=self.stdin,
            output_cap=self.output_cap,
            on_stdout=self.on_stdout,
            on_stderr=self.on_stderr,
            interrupt=self.interrupt,
        )


def shell_words(command: str | Sequence[str]) -> list[str]:
    """Return the argv of a command: a string is a line for the guest's shell, a list is the argv itself.

    Raises `InvalidRequest` for anything else.
    """
    if isinstance(command, str):
        return ["/bin/sh", "-c", command]
    if not isinstance(command, Sequence) or not all(isinstance(word, str | bytes) for word in command):
        raise InvalidRequest("a command is one line for the shell, or a list of words")
    return list(command)


def command_end(outcome: Outcome, record: MachineRecord, options: ExecOptions) -> CommandEnd:
    """Return the fields that every result about a finished command has."""
    end: CommandEnd = {
        "exit_code": outcome.exit_code,
        "signal": outcome.signal,
        "timed_out": outcome.timed_out,
        "stdout": outcome.stdout.decode(errors="replace"),
        "stderr": outcome.stderr.decode(errors="replace"),
        "stdout_bytes": outcome.stdout_bytes,
        "stderr_bytes": outcome.stderr_bytes,
        "truncated": outcome.truncated,
        "duration_ms": round(outcome.duration_ms, 3),
        "hint": None,
    }
    with_network = Verb("run", network=True) if is_vm(record.id) else Verb("workspace create", network_policy="egress")
    return with_hint(
        end,
        with_network=None if record.network.on else with_network,
        limit_seconds=options.time_limit(record.accelerator),
    )
