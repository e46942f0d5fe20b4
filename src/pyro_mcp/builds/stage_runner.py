"""One stage of a build: its machine, and what each instruction does in it."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pyro_mcp.builds.copied_files import BuildContext, CopySource, Spool, copy_edits, discarded_folders, heredoc_source
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
_ARCHITECTURE = {
    "TARGETPLATFORM": "linux/amd64", "TARGETOS": "linux", "TARGETARCH": "amd64", "TARGETVARIANT": "",
    "BUILDPLATFORM": "linux/amd64", "BUILDOS": "linux", "BUILDARCH": "amd64", "BUILDVARIANT": "",
}  # fmt: skip
_RECORDED = {"CMD": "cmd", "ENTRYPOINT": "entrypoint", "EXPOSE": "expose"}
_IGNORED = frozenset({"HEALTHCHECK", "MAINTAINER", "STOPSIGNAL", "VOLUME"})


@dataclass
class StageSettings:
    """What the instructions of a stage have set so far; a stage that begins with another takes its settings over."""

    environ: dict[str, str]
    args: dict[str, str] = field(default_factory=dict)
    workdir: str = "/"
    user: str = ""
    shell: tuple[str, ...] = ("/bin/sh", "-c")
    recorded: dict[str, object] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)

    def variables(self) -> dict[str, str]:
        """What a `$NAME` stands for."""
        return {**self.args, **self.environ}

    def inherited(self) -> StageSettings:
        """The settings that a stage which begins with this one has."""
        return StageSettings(
            dict(self.environ), {}, self.workdir, self.user, self.shell, dict(self.recorded), self.ignored
        )


@dataclass(frozen=True)
class BuildInputs:
    """What a build was given: `other` gets files out of another stage or environment, by way of a spool."""

    context: BuildContext
    build_args: Mapping[str, str]
    global_args: Mapping[str, str]
    other: Callable[[Instruction, str, str, Spool], list[CopySource]]
    step_seconds: float
    has_network: bool
    network_environ: Mapping[str, str]


class StageRunner:
    """Carries out instructions in a running machine. Errors name the line."""

    def __init__(
        self, session: Connection, tree: GuestTree, settings: StageSettings, given: BuildInputs, progress: Progress
    ) -> None:
        self._session = session
        self._tree = tree
        self._given = given
        self._progress = progress
        self.settings = settings

    def carry_out(self, one: Instruction, place: str) -> None:
        """Carry out one instruction; `place` says in a progress message which of how many it is."""
        self._progress(f"{place} {one.shown()}", None)
        try:
            self._act(one, place)
        except EnvironmentFailed:
            raise
        except PyroError as error:
            if error.message.startswith("line "):
                raise
            raise type(error)(f"line {one.line}: {one.keyword}: {error.message}", hint=error.hint) from error

    def _act(self, one: Instruction, place: str) -> None:
        settings, keyword = self.settings, one.keyword
        if keyword == "RUN":
            self._run(one, place)
        elif keyword in ("COPY", "ADD"):
            self._copy(one)
        elif keyword == "ENV":
            settings.environ.update(one.pairs(settings.variables()))
        elif keyword == "ARG":
            self._arg(one)
        elif keyword == "WORKDIR":
            self._workdir(one)
        elif keyword == "USER":
            settings.user = one.expand(one.text, settings.variables())
            settings.recorded["user"] = settings.user
        elif keyword == "SHELL":
            if not one.words:
                raise one.fault("needs the JSON form", hint='for example SHELL ["/bin/bash", "-c"]')
            settings.shell = one.words
        elif keyword == "LABEL":
            labels = settings.recorded.setdefault("labels", {})
            assert isinstance(labels, dict)
            labels.update(one.pairs(settings.variables()))
        elif keyword in _RECORDED:
            settings.recorded[_RECORDED[keyword]] = list(one.words) if one.words else one.text
        elif keyword in _IGNORED:
            settings.ignored.append(f"line {one.line}: {keyword}")
        else:
            raise one.fault("is not supported", hint="write it out as other instructions")

    def _arg(self, one: Instruction) -> None:
        for word in one.expanded(self.settings.variables()):
            name, has_default, default = word.partition("=")
            known = {**_ARCHITECTURE, **self._given.global_args, **self._given.build_args}
            if name in self._given.build_args or (not has_default and name in known):
                self.settings.args[name] = known[name]
            elif has_default:
                self.settings.args[name] = default

    def _workdir(self, one: Instruction) -> None:
        given = one.expand(one.text, self.settings.variables())
        self.settings.workdir = posixpath.normpath(posixpath.join(self.settings.workdir, given))
        self.settings.recorded["workdir"] = self.settings.workdir
        inner = self._tree.inner_path(self.settings.workdir)
        if inner and not self._tree.entries([inner], depth=0, skip_missing=True):
            self._tree.apply([Edit(inner, "d")])
        self._note_lost(one, [inner])

    def _run(self, one: Instruction, place: str) -> None:
        for flag, value in one.flags.items():
            if flag == "mount" and "type=cache" in value.split(","):
                self.settings.ignored.append(f"line {one.line}: --mount={value}")
            else:
                raise one.fault(f"--{flag} is not supported", hint="leave it out, or COPY what it gives")
        tail = _Tail(lambda line: self._progress(f"{place} {line}", None))
        outcome = self._session.run(
            Command(
                self._as_user(one, self._words(one)),
                cwd=self.settings.workdir,
                environ={**self.settings.variables(), **self._home(), **self._given.network_environ},
                timeout_seconds=self._given.step_seconds,
                output_cap=0,
                on_stdout=tail.take,
                on_stderr=tail.take,
            )
        )
        if outcome.exit_code == 0:
            return
        how = "took too long" if outcome.timed_out else f"ended with exit code {outcome.exit_code}"
        said = tail.text()
        hint = ""
        if outcome.timed_out:
            hint = Hint("{} gives each step more time", Argument("timeout_seconds"))
        elif not self._given.has_network and NETWORK_ERROR.search(said):
            hint = Hint("a build has no network by default; allow one with {}", Argument("network", True))
        raise EnvironmentFailed(f"line {one.line}: {one.shown()} {how}\n{said}".rstrip(), hint=hint)

    def _words(self, one: Instruction) -> list[str]:
        if one.words is not None:
            return list(one.words)
        if one.documents and re.fullmatch(r"<<-?['\"]?[\w.-]+['\"]?", one.text.strip()):
            return [*self.settings.shell, one.documents[0].content]
        return [*self.settings.shell, "\n".join([one.text, *(document.raw for document in one.documents)])]

    def _as_user(self, one: Instruction, words: list[str]) -> list[str]:
        """The command as the user that USER named; setpriv is part of every Debian."""
        name, _, group = self.settings.user.partition(":")
        if name in ("", "root", "0"):
            return words
        account = self._account(name)
        if account is None and not name.isdigit():
            raise one.fault(f"there is no user {name!r} in /etc/passwd")
        uid, gid = (account[2], account[3]) if account else (name, name)
        return [
            "setpriv", f"--reuid={uid}", f"--regid={group or gid}",
            "--init-groups" if account else "--clear-groups", "--", *words,
        ]  # fmt: skip

    def _home(self) -> dict[str, str]:
        account = self._account(self.settings.user.partition(":")[0] or "root")
        return {"HOME": account[5]} if account and self.settings.user else {}

    def _account(self, name: str) -> list[str] | None:
        """The fields of a user's line in /etc/passwd."""
        found = self._tree.contents([b"etc/passwd"], 1 << 20, follow=True, skip_missing=True)
        _, content = found.get(b"etc/passwd", (None, b""))
        rows = [line.split(":") for line in content.decode(errors="replace").splitlines()]
        return next((row for row in rows if len(row) >= 7 and name in (row[0], row[2])), None)

    def _copy(self, one: Instruction) -> None:
        unknown = set(one.flags) - {"from", "chown", "chmod", "link"}
        if unknown:
            raise one.fault(f"--{min(unknown)} is not supported")
        *patterns, dest = one.expanded(self.settings.variables())
        if not patterns:
            raise one.fault("needs at least one source and a destination")
        whole = posixpath.join(self.settings.workdir, dest)
        whole = posixpath.normpath(whole) + ("/" if dest.endswith(("/", "/.")) or dest == "." else "")
        with temporary_folder() as work, open(work / "spool", "w+b") as file:
            sources = self._sources(one, patterns, work, Spool(file))
            edits, made = copy_edits(sources, whole, self._tree, mode=_mode(one))
            self._tree.apply(edits)
        self._note_lost(one, made)
        if owner := one.expand(one.flags.get("chown", ""), self.settings.variables()):
            self._chown(one, owner, made)

    def _sources(self, one: Instruction, patterns: Sequence[str], work: Path, spool: Spool) -> list[CopySource]:
        documents = {document.name: document for document in one.documents}
        found: list[CopySource] = []
        from_ = one.expand(one.flags.get("from", ""), self.settings.variables())
        for number, pattern in enumerate(patterns):
            place = work / f"source-{number}"
            place.mkdir()
            if pattern.startswith("<<"):
                name = pattern.lstrip("<-")
                content = one.expand_document(documents[name], self.settings.variables())
                found.append(heredoc_source(name, content))
            elif re.match(r"(https?|ftp|git)://|git@", pattern):
                hint = Hint("fetch it with RUN curl or RUN git; that needs {}", Argument("network", True))
                raise one.fault("cannot fetch from elsewhere", hint=hint)
            elif from_:
                found += self._given.other(one, from_, pattern, spool)
            elif one.keyword == "ADD":
                found += self._given.context.unpacked(pattern, place)
            else:
                found += self._given.context.sources(pattern)
        return found

    def _chown(self, one: Instruction, owner: str, made: Sequence[bytes]) -> None:
        tops = sorted({path for path in made if not any(path.startswith(above + b"/") for above in made)})
        for begin in range(0, len(tops), 500):
            paths = [b"/" + path for path in tops[begin : begin + 500]]
            outcome = self._session.run(
                Command(
                    ["chown", "--recursive", "--no-dereference", owner, "--", *paths],
                    cwd="/",
                    environ=self.settings.environ,
                    timeout_seconds=self._given.step_seconds,
                    output_cap=_OUTPUT_KEPT,
                )
            )
            if outcome.exit_code:
                raise one.fault(f"--chown={owner}: {outcome.stderr.decode(errors='replace').strip()[-500:]}")

    def _note_lost(self, one: Instruction, paths: Sequence[bytes]) -> None:
        for folder in discarded_folders(paths):
            self.settings.ignored.append(
                f"line {one.line}: {one.keyword} {folder}: what is there is not part of an environment"
            )


class _Tail:
    """Keeps the end of a command's output, and passes its lines on."""

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
        """The last lines, without what a terminal would act on."""
        lines = self._kept.decode(errors="replace").replace("\r\n", "\n").splitlines()[-_TAIL_LINES:]
        return "\n".join("".join(char if char.isprintable() or char == "\t" else "?" for char in one) for one in lines)


def _mode(one: Instruction) -> int | None:
    given = one.flags.get("chmod")
    if given is None:
        return None
    if not re.fullmatch(r"0?[0-7]{3,4}", given):
        raise one.fault(f"--chmod={given} is not supported", hint="give it as octal digits, for example --chmod=755")
    return int(given, 8)
