"""Execute the instructions of one build stage (RUN, COPY, ENV, …) in the stage's machine."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pyro_mcp.builds.copied_files import (
    BuildContext,
    CopySource,
    Spool,
    copy_edits,
    discarded_folders,
    heredoc_source,
)
from pyro_mcp.engine import Command, Connection
from pyro_mcp.environments import Instruction
from pyro_mcp.errors import EnvironmentFailed, PyroError
from pyro_mcp.guest_protocol.tree_edits import Edit
from pyro_mcp.hints import Argument, Hint
from pyro_mcp.host.files import temporary_folder
from pyro_mcp.host.progress import Progress
from pyro_mcp.machines import NETWORK_ERROR
from pyro_mcp.trees import GuestTree

_OUTPUT_KEPT = 64 * 1024
_TAIL_LINES = 30
_CHOWN_BATCH = 500
_PLATFORM_ARGS = {
    "TARGETPLATFORM": "linux/amd64", "TARGETOS": "linux", "TARGETARCH": "amd64", "TARGETVARIANT": "",
    "BUILDPLATFORM": "linux/amd64", "BUILDOS": "linux", "BUILDARCH": "amd64", "BUILDVARIANT": "",
}  # fmt: skip
_CONFIG_KEYS = {"CMD": "cmd", "ENTRYPOINT": "entrypoint", "EXPOSE": "expose"}
_IGNORED = frozenset({"HEALTHCHECK", "MAINTAINER", "STOPSIGNAL", "VOLUME"})


@dataclass
class StageSettings:
    """What the instructions of a stage have set so far; a stage that is built FROM this one inherits it.

    `image_config` is only recorded in the environment; `ignored` names the instructions without effect.
    """

    environ: dict[str, str]
    args: dict[str, str] = field(default_factory=dict)
    workdir: str = "/"
    user: str = ""
    shell: tuple[str, ...] = ("/bin/sh", "-c")
    image_config: dict[str, object] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)

    def variables(self) -> dict[str, str]:
        """Return the values of ARG and ENV variables, by name."""
        return {**self.args, **self.environ}

    def inherited(self) -> StageSettings:
        """Return the first settings of a stage that is built FROM this one: all but the ARG values."""
        config = dict(self.image_config)
        return StageSettings(dict(self.environ), {}, self.workdir, self.user, self.shell, config, self.ignored)


@dataclass(frozen=True)
class BuildInputs:
    """What all stages of a build share. `read_from` reads the files of `COPY --from` by way of a spool."""

    context: BuildContext
    build_args: Mapping[str, str]
    global_args: Mapping[str, str]
    read_from: Callable[[Instruction, str, str, Spool], list[CopySource]]
    step_seconds: float
    has_network: bool
    network_environ: Mapping[str, str]


class StageRunner:
    """Executes instructions in a running machine. Its errors name the line."""

    def __init__(
        self,
        connection: Connection,
        tree: GuestTree,
        settings: StageSettings,
        inputs: BuildInputs,
        progress: Progress,
    ) -> None:
        self._connection = connection
        self._tree = tree
        self._inputs = inputs
        self._progress = progress
        self.settings = settings

    def execute(self, instruction: Instruction, step: str) -> None:
        """Execute one instruction; `step` labels it in progress messages, for example "[3/7]"."""
        self._progress(f"{step} {instruction.summary()}", None)
        try:
            self._execute(instruction, step)
        except EnvironmentFailed:
            raise
        except PyroError as error:
            if error.message.startswith("line "):
                raise
            message = f"line {instruction.line}: {instruction.keyword}: {error.message}"
            raise type(error)(message, hint=error.hint) from error

    def _execute(self, instruction: Instruction, step: str) -> None:
        settings, keyword = self.settings, instruction.keyword
        if keyword == "RUN":
            self._run(instruction, step)
        elif keyword in ("COPY", "ADD"):
            self._copy(instruction)
        elif keyword == "ENV":
            settings.environ.update(instruction.assignments(settings.variables()))
        elif keyword == "ARG":
            self._arg(instruction)
        elif keyword == "WORKDIR":
            self._workdir(instruction)
        elif keyword == "USER":
            settings.user = instruction.expand(instruction.text, settings.variables())
            settings.image_config["user"] = settings.user
        elif keyword == "SHELL":
            if not instruction.json_words:
                raise instruction.error("needs the JSON form", hint='write it as SHELL ["/bin/bash", "-c"]')
            settings.shell = instruction.json_words
        elif keyword == "LABEL":
            labels = settings.image_config.setdefault("labels", {})
            assert isinstance(labels, dict)
            labels.update(instruction.assignments(settings.variables()))
        elif keyword in _CONFIG_KEYS:
            value = list(instruction.json_words) if instruction.json_words else instruction.text
            settings.image_config[_CONFIG_KEYS[keyword]] = value
        elif keyword in _IGNORED:
            settings.ignored.append(f"line {instruction.line}: {keyword}")
        else:
            raise instruction.error("is not supported", hint="replace it by other instructions")

    def _arg(self, instruction: Instruction) -> None:
        for word in instruction.expanded_words(self.settings.variables()):
            name, has_default, default = word.partition("=")
            known = {**_PLATFORM_ARGS, **self._inputs.global_args, **self._inputs.build_args}
            if name in self._inputs.build_args or (not has_default and name in known):
                self.settings.args[name] = known[name]
            elif has_default:
                self.settings.args[name] = default

    def _workdir(self, instruction: Instruction) -> None:
        given = instruction.expand(instruction.text, self.settings.variables())
        self.settings.workdir = posixpath.normpath(posixpath.join(self.settings.workdir, given))
        self.settings.image_config["workdir"] = self.settings.workdir
        inner = self._tree.inner_path(self.settings.workdir)
        if inner and not self._tree.entries([inner], depth=0, skip_missing=True):
            self._tree.apply([Edit(inner, "d")])
        self._note_discarded(instruction, [inner])

    def _run(self, instruction: Instruction, step: str) -> None:
        for flag, value in instruction.flags.items():
            if flag == "mount" and "type=cache" in value.split(","):
                self.settings.ignored.append(f"line {instruction.line}: --mount={value}")
            else:
                raise instruction.error(
                    f"--{flag} is not supported", hint="remove the flag, or COPY the files that it provides"
                )
        tail = _OutputTail(lambda line: self._progress(f"{step} {line}", None))
        outcome = self._connection.run(
            Command(
                self._as_user(instruction, self._argv(instruction)),
                cwd=self.settings.workdir,
                environ={**self.settings.variables(), **self._home(), **self._inputs.network_environ},
                timeout_seconds=self._inputs.step_seconds,
                output_cap=0,
                on_stdout=tail.take,
                on_stderr=tail.take,
            )
        )
        if outcome.exit_code == 0:
            return
        reason = "timed out" if outcome.timed_out else f"failed with exit code {outcome.exit_code}"
        output = tail.text()
        hint = ""
        if outcome.timed_out:
            hint = Hint("{} sets the time limit of each step", Argument("timeout_seconds"))
        elif not self._inputs.has_network and NETWORK_ERROR.search(output):
            hint = Hint("builds have no network by default; allow one with {}", Argument("network", True))
        message = f"line {instruction.line}: {instruction.summary()} {reason}\n{output}"
        raise EnvironmentFailed(message.rstrip(), hint=hint)

    def _argv(self, instruction: Instruction) -> list[str]:
        """Return the command of RUN: its JSON form, a lone here-document as a script, or a shell command."""
        if instruction.json_words is not None:
            return list(instruction.json_words)
        if instruction.here_documents and re.fullmatch(r"<<-?['\"]?[\w.-]+['\"]?", instruction.text.strip()):
            return [*self.settings.shell, instruction.here_documents[0].content]
        script = "\n".join([instruction.text, *(one.raw for one in instruction.here_documents)])
        return [*self.settings.shell, script]

    def _as_user(self, instruction: Instruction, argv: list[str]) -> list[str]:
        """Return the command that runs `argv` as the user that USER set. Every Debian includes setpriv."""
        name, _, group = self.settings.user.partition(":")
        if name in ("", "root", "0"):
            return argv
        account = self._account(name)
        if account is None and not name.isdigit():
            raise instruction.error(f"there is no user {name!r} in /etc/passwd")
        uid, gid = (account[2], account[3]) if account else (name, name)
        return [
            "setpriv", f"--reuid={uid}", f"--regid={group or gid}",
            "--init-groups" if account else "--clear-groups", "--", *argv,
        ]  # fmt: skip

    def _home(self) -> dict[str, str]:
        account = self._account(self.settings.user.partition(":")[0] or "root")
        return {"HOME": account[5]} if account and self.settings.user else {}

    def _account(self, name: str) -> list[str] | None:
        """Return the fields of a user's line in /etc/passwd; `name` may be a user id."""
        found = self._tree.contents([b"etc/passwd"], 1 << 20, follow=True, skip_missing=True)
        _, content = found.get(b"etc/passwd", (None, b""))
        rows = [line.split(":") for line in content.decode(errors="replace").splitlines()]
        return next((row for row in rows if len(row) >= 7 and name in (row[0], row[2])), None)

    def _copy(self, instruction: Instruction) -> None:
        unknown = set(instruction.flags) - {"from", "chown", "chmod", "link"}
        if unknown:
            raise instruction.error(f"--{min(unknown)} is not supported")
        *patterns, dest = instruction.expanded_words(self.settings.variables())
        if not patterns:
            raise instruction.error("needs at least one source and a destination")
        dest_path = posixpath.join(self.settings.workdir, dest)
        dest_path = posixpath.normpath(dest_path) + ("/" if dest.endswith(("/", "/.")) or dest == "." else "")
        with temporary_folder() as work, open(work / "spool", "w+b") as file:
            sources = self._sources(instruction, patterns, work, Spool(file))
            edits, copied = copy_edits(sources, dest_path, self._tree, mode=_mode(instruction))
            self._tree.apply(edits)
        self._note_discarded(instruction, copied)
        if owner := instruction.expand(instruction.flags.get("chown", ""), self.settings.variables()):
            self._chown(instruction, owner, copied)

    def _sources(self, instruction: Instruction, patterns: Sequence[str], work: Path, spool: Spool) -> list[CopySource]:
        here_documents = {one.name: one for one in instruction.here_documents}
        found: list[CopySource] = []
        from_name = instruction.expand(instruction.flags.get("from", ""), self.settings.variables())
        for number, pattern in enumerate(patterns):
            unpacked = work / f"source-{number}"
            unpacked.mkdir()
            if pattern.startswith("<<"):
                name = pattern.lstrip("<-")
                content = instruction.expand_document(here_documents[name], self.settings.variables())
                found.append(heredoc_source(name, content))
            elif re.match(r"(https?|ftp|git)://|git@", pattern):
                hint = Hint("use RUN curl or RUN git; that needs {}", Argument("network", True))
                raise instruction.error("downloads are not supported", hint=hint)
            elif from_name:
                found += self._inputs.read_from(instruction, from_name, pattern, spool)
            elif instruction.keyword == "ADD":
                found += self._inputs.context.unpacked_sources(pattern, unpacked)
            else:
                found += self._inputs.context.sources(pattern)
        return found

    def _chown(self, instruction: Instruction, owner: str, copied: Sequence[bytes]) -> None:
        tops = sorted({path for path in copied if not any(path.startswith(above + b"/") for above in copied)})
        for begin in range(0, len(tops), _CHOWN_BATCH):
            paths = [b"/" + path for path in tops[begin : begin + _CHOWN_BATCH]]
            outcome = self._connection.run(
                Command(
                    ["chown", "--recursive", "--no-dereference", owner, "--", *paths],
                    cwd="/",
                    environ=self.settings.environ,
                    timeout_seconds=self._inputs.step_seconds,
                    output_cap=_OUTPUT_KEPT,
                )
            )
            if outcome.exit_code:
                complaint = outcome.stderr.decode(errors="replace").strip()[-500:]
                raise instruction.error(f"--chown={owner}: {complaint}")

    def _note_discarded(self, instruction: Instruction, paths: Sequence[bytes]) -> None:
        for folder in discarded_folders(paths):
            self.settings.ignored.append(
                f"line {instruction.line}: {instruction.keyword} {folder}: files there are not part of the environment"
            )


class _OutputTail:
    """Keeps the end of a command's output, and reports its lines as progress."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._kept = bytearray()
        self._on_line = on_line

    def take(self, data: bytes) -> None:
        self._kept += data
        del self._kept[:-_OUTPUT_KEPT]
        line = data.decode(errors="replace").strip().rpartition("\n")[2].strip()
        if line.isprintable() and line:
            self._on_line(line)

    def text(self) -> str:
        """Return the last lines, with control characters replaced."""
        lines = self._kept.decode(errors="replace").replace("\r\n", "\n").splitlines()[-_TAIL_LINES:]
        return "\n".join(
            "".join(char if char.isprintable() or char == "\t" else "?" for char in line) for line in lines
        )


def _mode(instruction: Instruction) -> int | None:
    given = instruction.flags.get("chmod")
    if given is None:
        return None
    if not re.fullmatch(r"0?[0-7]{3,4}", given):
        raise instruction.error(f"--chmod={given} is not supported", hint="use octal digits, for example --chmod=755")
    return int(given, 8)
