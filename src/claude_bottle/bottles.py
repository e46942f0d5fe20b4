"""`Bottles`: one object with one method for each verb; the command line is its first user."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from claude_bottle import state
from claude_bottle.approval_verbs import ApprovalVerbs
from claude_bottle.audit_verbs import AuditVerbs
from claude_bottle.backend.table import BACKENDS, DEFAULT_BACKEND, backend_named, offered
from claude_bottle.bottle_info import bottle_of, info_of, unknown_info
from claude_bottle.launch import Launch, guarded, remove_bottle
from claude_bottle.login_loan import keep_last_login, keep_login, lend
from claude_bottle.logins import forget_logins
from claude_bottle.network_report import refusals
from claude_bottle.results import (
    BackendReport,
    BottleInfo,
    BottleList,
    DemoReport,
    DiffReport,
    DoctorReport,
    ExportReport,
    LogoutReport,
    LogsReport,
    PlanReport,
    StopReport,
)
from claude_bottle.state import Record
from pyro_mcp.errors import HostNotReady, InvalidRequest, NotFound, PyroError, own_errors
from pyro_mcp.host.files import write_atomic
from pyro_mcp.terminal import plain

if TYPE_CHECKING:
    from claude_bottle.backend import Backend, Bottle
    from claude_bottle.manifest import LoadedManifest
    from claude_bottle.planning import LaunchRequest

_SHOWN_OUTPUT = 256 * 1024
_MOST_CONNECTIONS = 1000
_SIZE = (80, 24)
_KILLED = 128 + 9


class Bottles(ApprovalVerbs, AuditVerbs):
    """The bottles of this user, and the manifest that new ones are launched from.

    Without `manifest`, the manifests of the user and of the project in `folder` are loaded when they are needed. `say`
    gets lines about the progress of a launch. Most methods first remove what killed processes have left. All raise only
    `PyroError`.
    """

    def __init__(
        self,
        *,
        folder: Path | None = None,
        manifest: LoadedManifest | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._folder, self._manifest, self._say = folder or Path.cwd(), manifest, say
        self._shown: dict[str, Bottle] = {}  # by slug, while somebody looks at it: it knows the size of its terminal

    @property
    def loaded(self) -> LoadedManifest:
        """The manifest, with the file that each key came from."""
        if self._manifest is None:
            from claude_bottle.manifest import load  # noqa: PLC0415 - slow to import, and few verbs need it

            self._manifest = load(self._folder)
        return self._manifest

    def plan(
        self, agent: str, *, backend: str = DEFAULT_BACKEND, copy_cwd: bool = False, args: Sequence[str] = ()
    ) -> PlanReport:
        """Return everything that a launch would do, and why it would fail now; make nothing."""
        from claude_bottle.planning import plan_report  # noqa: PLC0415

        with own_errors():
            request, its_backend = self._request(agent, copy_cwd, args), backend_named(backend)
            slug = state.new_slug(agent)
            return plan_report(
                request, its_backend, its_backend.plan(request.spec, slug=slug, stage_dir=state.stage_dir(slug))
            )

    @contextmanager
    def launching(
        self, agent: str, *, backend: str = DEFAULT_BACKEND, copy_cwd: bool = False, args: Sequence[str] = ()
    ) -> Iterator[Launch]:
        """Launch an agent, and own its bottle until the block ends.

        If the block raises an exception before `Launch.keep` is called, the bottle is removed. If this process is
        killed in the block, the next command removes the bottle.
        """
        from claude_bottle.planning import require_launchable  # noqa: PLC0415

        with own_errors():
            self._clear()
            request, its_backend = self._request(agent, copy_cwd, args), backend_named(backend)
            require_launchable(request, its_backend)
            record = self._record(request, its_backend)
        launch: Launch | None = None
        with state.launching(record) as owned:
            try:
                with own_errors():
                    plan = its_backend.plan(request.spec, slug=record.slug, stage_dir=state.stage_dir(record.slug))
                    state.write_prompt(plan.prompt_file, request.agent.prompt)
                    if request.agent.login:
                        lend(record, request.harness.name)
                    with guarded(plan, record) as its_plan:
                        bottle = its_backend.launch(its_plan, self._say)
                    launch = Launch(record, bottle, its_backend, owned)
                yield launch
                if not launch.kept and not launch.removed:
                    launch.keep()
            except BaseException:
                if launch is None or not (launch.kept or launch.removed):
                    keep_last_login(record)
                    remove_bottle(its_backend, record.slug)
                    state.forget(record.slug)
                raise

    def run(
        self, agent: str, *, backend: str = DEFAULT_BACKEND, copy_cwd: bool = False, args: Sequence[str] = ()
    ) -> BottleInfo:
        """Launch an agent and leave it running."""
        with self.launching(agent, backend=backend, copy_cwd=copy_cwd, args=args) as launch:
            launch.keep()
        return self.status(launch.slug)

    def attach(
        self,
        slug: str,
        stdin: BinaryIO,
        on_output: Callable[[bytes], None],
        *,
        interrupt: int | None = None,
    ) -> int | None:
        """Connect `stdin` and `on_output` to the agent's terminal until either ends.

        Returns the exit code of the agent, None when it goes on. Ends too when the descriptor `interrupt` is readable,
        and when somebody stops the bottle.
        """
        with own_errors():
            slug = _named(slug)
            try:
                bottle = self._bottle_shown(slug)
                ended = bottle.attach(stdin, on_output, interrupt=interrupt)
                if ended is not None and not state.is_stopped(slug):
                    keep_login(state.read(slug), bottle)  # `status` says why it failed
                return ended
            except PyroError:
                if state.is_stopped(slug):  # its machine or container went away under us
                    return _KILLED
                raise
            finally:
                self._shown.pop(slug, None)

    def resize(self, slug: str, columns: int, rows: int) -> None:
        """Change the size of the agent's terminal."""
        with own_errors():
            slug = _named(slug)
            write_atomic(_size_file(slug), json.dumps([columns, rows]))
            self._bottle_shown(slug).resize(columns, rows)

    def status(self, slug: str) -> BottleInfo:
        """Return what the agent does now, or how it ended."""
        with own_errors():
            self._clear()
            return info_of(state.read(_named(slug)))

    def list(self) -> BottleList:
        """Return all bottles of this user, oldest first."""
        with own_errors():
            self._clear()
            found = []
            for slug in state.slugs():
                try:
                    found.append(info_of(state.read(slug)))
                except NotFound:  # it was removed meanwhile
                    continue
                except HostNotReady:
                    found.append(unknown_info(slug))
            found.sort(key=lambda one: one["created_at"])
            return {"count": len(found), "bottles": found}

    def logs(self, slug: str, *, connections: bool = False) -> LogsReport:
        """Return the last output as text, and the refused connections; with `connections` all connections too."""
        with own_errors():
            self._clear()
            record = state.read(_named(slug))
            bottle = bottle_of(record)
            asked_for = bottle.network_log(limit=_MOST_CONNECTIONS)
            columns, rows = _size(record.slug)
            return {
                "slug": record.slug,
                "state": info_of(record)["state"],
                "output": plain(bottle.output(most=_SHOWN_OUTPUT), columns, rows),
                "refused": refusals(asked_for, record),
                "connections": [dict(one) for one in asked_for] if connections else [],
            }

    def diff(self, slug: str, *, binary: bool = False) -> DiffReport:
        """Return what changed in the tree since the launch; with `binary`, `git apply` makes the same files elsewhere.

        Without it, files that are not text are only named.
        """
        with own_errors():
            self._clear()
            record = state.read(_named(slug))
            diff = bottle_of(record).diff(binary=binary)
            return {
                "slug": record.slug,
                "changed": diff.changed,
                "diff": diff.patch,
                "not_in_patch": [*diff.not_in_patch],
                "git_changes": diff.git_changes,
                "ignored_changes": diff.ignored_changes,
            }

    def export(self, slug: str, path: str = ".", *, output: Path, overwrite: bool = False) -> ExportReport:
        """Copy a file or folder of the tree to `output` on the host, which must not exist unless `overwrite`."""
        with own_errors():
            self._clear()
            record, target = state.read(_named(slug)), output.absolute()
            remarks = bottle_of(record).export(path, target, overwrite=overwrite)
            return {"slug": record.slug, "path": path, "output": str(target), "remarks": [*remarks]}

    def stop(self, slug: str) -> StopReport:
        """End a bottle and remove all that its launch made. Raises `NotFound`."""
        with own_errors():
            self._clear()
            slug = _named(slug)
            remark = _remove(slug)
            return {"stopped": [slug], "remarks": [remark] if remark else []}

    def stop_all(self) -> StopReport:
        """End and remove every bottle of this user; raise the first error after all have been tried."""
        with own_errors():
            self._clear()
            remarks, stopped, failed = [], [], None
            for slug in state.slugs():
                try:
                    remarks.append(_remove(slug))
                    stopped.append(slug)
                except NotFound:
                    continue
                except PyroError as error:
                    failed = failed or error
            if failed is not None:
                raise failed
            return {"stopped": stopped, "remarks": [one for one in remarks if one]}

    def logout(self, agent: str) -> LogoutReport:
        """Remove the login that is kept for an agent from this host. Raises `NotFound` when there is none."""
        with own_errors():
            self._clear()
            lent = {one.lent_to for one in forget_logins(agent)}
            return {"agent": agent, "still_in": sorted(lent.intersection(state.slugs()))}

    def doctor(self) -> DoctorReport:
        """Return, for each backend, what is missing on this host and how to get it."""
        with own_errors():
            self._clear()
            backends: list[BackendReport] = []
            for name in BACKENDS:
                try:
                    problems = backend_named(name).problems()
                except PyroError as error:
                    problems = [str(error)]
                default = name == DEFAULT_BACKEND
                backends.append({"name": name, "ready": not problems, "default": default, "problems": problems})
            return {
                "ready": any(one["ready"] and one["default"] for one in backends),
                "backends": backends,
                "bottles": len(state.slugs()),
            }

    def demo(self, *, backend: str = DEFAULT_BACKEND) -> DemoReport:
        """Run the demonstration: a real agent, whose model is a script. Everything is removed at the end."""
        from claude_bottle.demo import demonstrate  # noqa: PLC0415

        return demonstrate(
            lambda folder, loaded: Bottles(folder=folder, manifest=loaded, say=self._say), backend, self._say
        )

    def _bottle_shown(self, slug: str) -> Bottle:
        """Return the same bottle to `attach` and `resize`: on some backends a size belongs to a connection."""
        record = state.read(slug)
        return self._shown.setdefault(slug, self._shown.get(slug) or bottle_of(record))

    def _request(self, agent: str, copy_cwd: bool, args: Sequence[str]) -> LaunchRequest:
        from claude_bottle.backend import BottleSpec  # noqa: PLC0415
        from claude_bottle.planning import LaunchRequest  # noqa: PLC0415

        loaded = self.loaded
        loaded.manifest.bottle_of(agent)
        return LaunchRequest(loaded, BottleSpec(loaded.manifest, agent, copy_cwd, str(self._folder), tuple(args)))

    def _record(self, request: LaunchRequest, backend: Backend) -> Record:
        agent = request.agent
        return Record(
            slug=state.new_slug(request.spec.agent_name),
            agent=request.spec.agent_name,
            bottle=agent.bottle,
            backend=backend.name,
            folder=request.spec.user_cwd,
            copied=request.spec.copy_cwd,
            harness=agent.harness if isinstance(agent.harness, str) else [*agent.harness],
            created_at=time.time(),
            args=[*request.spec.args],
            manifest_files=[str(file) for file in request.loaded.files],
            budget_file=request.loaded.budget_file(agent.bottle),
        )

    def _clear(self) -> None:
        """Remove what killed processes have left."""
        for slug in state.abandoned():
            # What cannot be removed stays on record: `list` shows it, and `stop` raises the reason. No failure of one
            # bottle may keep a command from all the others.
            with suppress(Exception):
                _remove(slug)


def _named(word: str) -> str:
    """Return the slug of a bottle; `word` is that slug, or the name of an agent with only this bottle."""
    known = state.slugs()
    if word in known:
        return word
    found = []
    for slug in known:
        with suppress(PyroError):  # a damaged record: its agent is unknown
            if state.read(slug).agent == word:
                found.append(slug)
    if len(found) > 1:
        raise InvalidRequest(f"the agent {word!r} has {len(found)} bottles", hint=f"name one: {', '.join(found)}")
    return found[0] if found else state.read(word).slug


def _remove(slug: str) -> str:
    """Save the login of a bottle, then remove the bottle; return why the login could not be saved, else ""."""
    with state.removing(slug) as record:
        if record is not None and record.backend in offered():
            remark = keep_last_login(record)
            remove_bottle(backend_named(record.backend), slug)
            return remark
        for name in offered():  # the record is damaged, or another version's
            backend = backend_named(name)
            try:
                remove_bottle(backend, slug)
            except PyroError:
                if not backend.problems():  # a backend that cannot run here has no bottle
                    raise
        if record is not None:
            return f"{slug}: there is no backend {record.backend!r} here; what it made may still be there"
        return ""


def _size_file(slug: str) -> Path:
    return state.bottle_dir(slug) / "size"


def _size(slug: str) -> tuple[int, int]:
    """Return the columns and rows of the agent's terminal."""
    try:
        columns, rows = json.loads(_size_file(slug).read_text())
    except FileNotFoundError:
        return _SIZE
    return int(columns), int(rows)
