"""Persistent workspaces: created from a seed, used, snapshotted, reset, forked, stopped, deleted."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from pyro_mcp.engine import MOST_LAYERS, DiskLayers, Shape, make_baseline, requested
from pyro_mcp.environments import RootImage
from pyro_mcp.errors import Conflict, InvalidRequest, NoSpace, NotFound
from pyro_mcp.host.files import private_directory
from pyro_mcp.host.progress import Progress, silent
from pyro_mcp.machines import (
    GUEST,
    HOST_COMPAT,
    NO_GUEST,
    Images,
    Lifecycle,
    MachineRecord,
    NetworkPolicy,
    Phase,
    Secrets,
    SecretsGiven,
    check_mirrors,
    check_reach,
    check_ttl,
    image_for,
    read_secrets,
    register_fork,
    require_phase,
    require_time_left,
)
from pyro_mcp.results import (
    SnapshotDeleted,
    SnapshotInfo,
    SnapshotList,
    SnapshotResult,
    WorkspaceAdopted,
    WorkspaceDeleted,
    WorkspaceFork,
    WorkspaceInfo,
    WorkspaceList,
    WorkspaceReset,
    WorkspaceSeed,
)
from pyro_mcp.trees import GuestTree, Seed, prepare_seed, push_seed
from pyro_mcp.workspaces.access import ToolOf
from pyro_mcp.workspaces.recovery import Recovery
from pyro_mcp.workspaces.seeds import NO_SEED, SeedOrigin, Source, described
from pyro_mcp.workspaces.service_store import ServiceStore
from pyro_mcp.workspaces.workspace_results import snapshot_info, unknown_workspaces, workspace_info, workspace_summary
from pyro_mcp.workspaces.workspace_store import BASELINE, Snapshot, WorkspaceRecord, WorkspaceStore

_LONGEST_NAME = 120


class Workspaces:
    """The workspaces of one state folder, as wholes; what is done inside one is in `access`."""

    def __init__(
        self, lifecycle: Lifecycle, images: Images, workspace_store: WorkspaceStore, recovery: Recovery
    ) -> None:
        self._lifecycle = lifecycle
        self._recovery = recovery
        self._images = images
        self._workspace_store = workspace_store

    def create(
        self,
        environment: str,
        shape: Shape,
        *,
        seed_path: str | Path | None,
        seed_origin: SeedOrigin | None = None,
        no_ignored: bool = False,
        seed_owner: int = 0,
        seed_left_out: Sequence[str] = (),
        name: str | None,
        labels: Mapping[str, str],
        ttl_seconds: float,
        network: NetworkPolicy,
        secrets: SecretsGiven = (),
        allow_host_compat: bool = False,
        accelerator: str | None = None,
        progress: Progress,
    ) -> WorkspaceInfo:
        check_ttl(ttl_seconds)
        requested(accelerator)
        check_labels(name, labels)
        path = None if seed_path is None else Path(seed_path)
        source = Source(path, seed_origin, no_ignored, seed_owner, seed_left_out)
        kept = read_secrets(secrets)
        check_reach(kept, network)
        check_mirrors(network)
        image = image_for(self._images, environment, progress, allow_host_compat=allow_host_compat)
        with self._lifecycle.reserve_id("ws") as id_:
            Secrets(private_directory(self._lifecycle.folders.home(id_))).keep(kept)
            record = self._lifecycle.create(
                id_,
                environment,
                image.version if image else "",
                shape,
                ttl_seconds=ttl_seconds,
                allow_host_compat=allow_host_compat,
                baseline=False,
                network=network,
                accelerator=accelerator,
            )
            record, seed = self._start_with_seed(record, image, source, progress)
            self._workspace_store.add(WorkspaceRecord(id_, name, labels, seed))
            return self._info(record)

    def _start_with_seed(
        self, record: MachineRecord, image: RootImage | None, source: Source, progress: Progress
    ) -> tuple[MachineRecord, WorkspaceSeed]:
        """Prepare the seed and start a new workspace with it; return also what is recorded of the seed."""
        if source.path is None and source.owner == 0:
            return self._start_new(record, image, None, 0, progress), NO_SEED
        work = self._lifecycle.folders.home(record.id) / "seed"
        work.mkdir()
        try:
            if source.path is None:
                nothing = Seed(work, "directory", 0, 0)
                return self._start_new(record, image, nothing, source.owner, progress), NO_SEED
            progress(f"reading {source.path}", None)
            seed = prepare_seed(source.path, work, no_ignored=source.no_ignored, left_out=source.left_out_paths)
            return self._start_new(record, image, seed, source.owner, progress), described(seed, source)
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _start_new(
        self, record: MachineRecord, image: RootImage | None, seed: Seed | None, owner: int, progress: Progress
    ) -> MachineRecord:
        """Start a new workspace: in a guest or, where none can run and that is allowed, without."""
        if image is not None:
            try:
                baseline = None if seed is None else self._make_baseline(record.id, seed, owner)
                return self._lifecycle.start(record, image, GUEST, progress, baseline=baseline)
            except NO_GUEST:
                if not record.allow_host_compat:
                    raise
                record = self._lifecycle.store.get(record.id)
        if record.network.on or self._secrets(record.id).all() or owner:
            raise Conflict(
                "no guest can run here, and without one there is no network, no secret and no other user",
                hint="leave out the network policy, the secrets and the seed's owner",
            )
        started = self._lifecycle.start(record, None, HOST_COMPAT, progress)
        if seed is not None:
            with self._lifecycle.connect(started) as connection:
                push_seed(GuestTree(ToolOf(connection)), seed)
        return started

    def _make_baseline(self, id_: str, seed: Seed, owner: int) -> Path:
        """Make the image of a seed, in the folder of its machine, which `Lifecycle.start` takes over."""
        image = self._lifecycle.folders.home(id_) / "seed.erofs"
        make_baseline(seed.tree, image, seed.left_out, owner=owner)
        return image

    def list(self) -> WorkspaceList:
        with self._lifecycle.store.kept_open():
            workspaces = self._workspace_store.all()  # first: it refreshes the records
            records = {record.id: record for record in self._lifecycle.store.all()}
            counts, services = self._workspace_store.command_counts(), ServiceStore(self._lifecycle.store).counts()
            rows = [
                workspace_summary(
                    self._lifecycle.with_current_phase(records[one.id]),
                    one,
                    counts.get(one.id, 0),
                    services.get(one.id, (0, 0)),
                )
                for one in workspaces
                if one.id in records
            ]
            found: WorkspaceList = {"count": len(rows), "workspaces": rows}
            unknown = unknown_workspaces(self._recovery.unknown())
        return {**found, "unknown": unknown} if unknown else found

    def adopt(self, id_: str | None) -> WorkspaceAdopted:
        """Add a workspace that is on the disk to the database, or without an id all of them."""
        problems: dict[str, str] = {}
        if id_ is not None:
            adopted = [self._info(self._recovery.adopt(id_))]
        else:
            adopted = []
            for known in self._recovery.unknown():
                try:
                    adopted.append(self._info(self._recovery.adopt(known.id)))
                except (Conflict, NotFound) as error:
                    problems[known.id] = error.message
        for one in adopted:
            self._workspace_store.note(one["workspace_id"], "adopt", {})
        done: WorkspaceAdopted = {"count": len(adopted), "workspaces": adopted}
        left = [replace(one, problem=one.problem or problems.get(one.id, "")) for one in self._recovery.unknown()]
        return {**done, "unknown": unknown_workspaces(left)} if left else done

    def status(self, id_: str) -> WorkspaceInfo:
        with self._lifecycle.store.kept_open():
            self._workspace_store.get(id_)
            return self._info(self._lifecycle.current_record(id_))

    def update(
        self,
        id_: str,
        *,
        name: str | None,
        clear_name: bool,
        labels: Mapping[str, str],
        clear_labels: Collection[str],
        ttl_seconds: float | None,
    ) -> WorkspaceInfo:
        check_labels(name, labels)
        if ttl_seconds is not None:
            check_ttl(ttl_seconds)
        if name is not None and clear_name:
            raise InvalidRequest("a name cannot be given and cleared at once")
        known = self._workspace_store.get(id_)
        kept = {key: value for key, value in known.labels.items() if key not in clear_labels}
        new_name = None if clear_name else name if name is not None else known.name
        self._workspace_store.describe(id_, new_name, {**kept, **labels})
        if ttl_seconds is not None:
            # The machine first: one that outlives its record is reaped, one that dies early has lost what it did.
            self._lifecycle.set_lifetime(self._lifecycle.store.get(id_), ttl_seconds)
            self._lifecycle.store.set_expiry(id_, ttl_seconds)
        return self.status(id_)

    def delete(self, id_: str) -> WorkspaceDeleted:
        with self._lifecycle.store.kept_open():
            if self._workspace_store.has(id_):
                self._lifecycle.force_delete(id_)
            else:
                self._recovery.discard(id_)
        return {"workspace_id": id_, "deleted": True}

    def stop(self, id_: str, progress: Progress = silent, *, force: bool = False) -> WorkspaceInfo:
        with self._locked(id_, self._lifecycle.lock_turnstile) as record:
            stopped = self._lifecycle.stop(record, progress, force=force)
        self._workspace_store.touch(id_)
        return self._info(stopped)

    def start(self, id_: str, progress: Progress) -> WorkspaceInfo:
        with self._locked(id_, self._lifecycle.lock_exclusive) as record:
            if record.phase == Phase.RUNNING:
                return self._info(record)
            require_phase(id_, record.phase, {Phase.STOPPED, Phase.FAILED})
            require_time_left(record)
            mode = record.execution_mode or GUEST
            self._recovery.end_one_shots()
            image = self._images.of_disk(record, progress) if mode == GUEST else None
            started = self._lifecycle.start(record, image, mode, progress)
            if len(started.layers) > MOST_LAYERS:
                with suppress(NoSpace):  # it runs, and the next snapshot says so
                    self._lifecycle.freeze_layers(started)
        self._workspace_store.touch(id_)
        return self._info(started)

    def create_snapshot(self, id_: str, name: str, *, with_system: bool) -> SnapshotResult:
        _check_snapshot_name(name)
        with self._locked(id_, self._lifecycle.lock_for_snapshot) as record:
            if any(one.name == name for one in self._workspace_store.snapshots(id_)):
                raise Conflict(f"{id_} has a snapshot {name!r} already", hint="delete it, or take another name")
            layers = self._lifecycle.freeze_layers(record)
            snapshot = Snapshot(name, layers, time.time(), record.generation, record.root_digest, with_system)
            with self._lifecycle.store.kept_open():
                self._workspace_store.add_snapshot(id_, snapshot)
                self._drop_unused_layers(self._lifecycle.store.get(id_))
        self._workspace_store.note(id_, "snapshot", {"action": "create", "snapshot_name": name})
        return {"workspace_id": id_, "snapshot": snapshot_info(snapshot)}

    def list_snapshots(self, id_: str) -> SnapshotList:
        with self._lifecycle.store.kept_open():
            self._workspace_store.get(id_)
            created_at = self._lifecycle.store.get(id_).created_at
        baseline: SnapshotInfo = {
            "snapshot_name": BASELINE, "kind": "baseline", "created_at": created_at, "deletable": False,
            "with_system": False,
        }  # fmt: skip
        found = [baseline, *(snapshot_info(one) for one in self._workspace_store.snapshots(id_))]
        return {"workspace_id": id_, "count": len(found), "snapshots": found}

    def delete_snapshot(self, id_: str, name: str) -> SnapshotDeleted:
        if name == BASELINE:
            raise InvalidRequest("the baseline is what the workspace was created as; it cannot be deleted")
        with self._locked(id_, self._lifecycle.lock_exclusive) as record:
            self._workspace_store.snapshot(id_, name)
            self._workspace_store.remove_snapshot(id_, name)
            self._drop_unused_layers(record)
        self._workspace_store.note(id_, "snapshot", {"action": "delete", "snapshot_name": name})
        return {"workspace_id": id_, "snapshot_name": name, "deleted": True}

    def reset(self, id_: str, snapshot: str, progress: Progress) -> WorkspaceReset:
        started = time.monotonic()
        with self._locked(id_, self._lifecycle.lock_turnstile) as record:
            require_time_left(record)
            wanted = (
                Snapshot(BASELINE, (), 0.0) if snapshot == BASELINE else self._workspace_store.snapshot(id_, snapshot)
            )
            if wanted.with_system:
                image = self._images.for_reset(record, wanted.name, system_of=wanted.root_digest, progress=progress)
            else:
                image = self._images.pulled(record.environment, progress)
            self._recovery.end_one_shots()
            fresh = self._lifecycle.reset(
                record,
                image,
                wanted.layers,
                progress,
                in_transaction=self._workspace_store.reset_changes(id_),
                generation=wanted.generation if wanted.with_system else self._unused_generation(record),
            )
            self._drop_unused_layers(fresh)
        with self._lifecycle.store.kept_open():
            self._lifecycle.store.shrink()
            self._workspace_store.note(id_, "reset", {"snapshot_name": snapshot})
            info = self._info(fresh)
        return {
            **info,
            "snapshot_name": snapshot,
            "with_system": wanted.with_system,
            "duration_ms": _since(started),
        }

    def _unused_generation(self, record: MachineRecord) -> int:
        """Return a generation that no layer of the workspace uses."""
        return 1 + max([record.generation, *(one.generation for one in self._workspace_store.snapshots(record.id))])

    def fork(
        self, id_: str, *, name: str | None, labels: Mapping[str, str], ttl_seconds: float, progress: Progress
    ) -> WorkspaceFork:
        started = time.monotonic()
        check_ttl(ttl_seconds)
        check_labels(name, labels)
        origin = self._workspace_store.get(id_)
        with self._lifecycle.reserve_id("ws") as new_id:
            with self._lifecycle.lock_for_snapshot(id_) as record:
                layers = self._lifecycle.freeze_layers(record)
                made = register_fork(
                    self._lifecycle, new_id, record, layers, ttl_seconds=ttl_seconds, network=record.network
                )
                self._drop_unused_layers(self._lifecycle.store.get(id_))
            self._secrets(new_id).adopt(self._secrets(id_))
            image = self._images.of_disk(record, progress)
            made = self._lifecycle.start(replace(made, root_digest=record.root_digest), image, GUEST, progress)
            seed: WorkspaceSeed = {**origin.seed, "origin_kind": "fork", "origin_ref": id_}
            self._workspace_store.add(WorkspaceRecord(new_id, name, labels, seed))
            return {**self._info(made), "forked_from": id_, "duration_ms": _since(started)}

    @contextmanager
    def _locked(
        self, id_: str, lock: Callable[[str], AbstractContextManager[MachineRecord]]
    ) -> Iterator[MachineRecord]:
        """Lock a workspace with one of the methods of `Lifecycle`; raises `NotFound` for an unknown one."""
        with ExitStack() as stack:
            with self._lifecycle.store.kept_open():
                self._workspace_store.get(id_)
                record = stack.enter_context(lock(id_))
            yield record

    def _secrets(self, id_: str) -> Secrets:
        return Secrets(self._lifecycle.folders.home(id_))

    def _drop_unused_layers(self, record: MachineRecord) -> None:
        needed = {
            *record.layers,
            *(layer for one in self._workspace_store.snapshots(record.id) for layer in one.layers),
        }
        DiskLayers(self._lifecycle.folders.home(record.id)).keep_only(needed)

    def _info(self, record: MachineRecord) -> WorkspaceInfo:
        with self._lifecycle.store.kept_open():
            services = ServiceStore(self._lifecycle.store).counts().get(record.id, (0, 0))
            known, count = self._workspace_store.get(record.id), self._workspace_store.command_count(record.id)
        return workspace_info(record, known, self._secrets(record.id), count, services)


def check_labels(name: str | None, labels: Mapping[str, str]) -> None:
    """Raise `InvalidRequest` for a name or label that could not be shown on one line."""
    if name is not None and (not name.strip() or len(name) > _LONGEST_NAME or not name.isprintable()):
        raise InvalidRequest(f"a name is one printable line of at most {_LONGEST_NAME} characters")
    for key, value in labels.items():
        if not key or "=" in key or not (key + value).isprintable() or max(len(key), len(value)) > _LONGEST_NAME:
            raise InvalidRequest(
                f"the label {key!r} is not a printable KEY=VALUE of at most {_LONGEST_NAME} characters each"
            )


def _check_snapshot_name(name: str) -> None:
    if name == BASELINE:
        raise Conflict(f"the name {BASELINE!r} belongs to the snapshot that every workspace has")
    allowed = name.replace("-", "").replace("_", "").replace(".", "")
    if not (allowed.isascii() and allowed.isalnum() and len(name) <= 64 and name[0].isalnum()):
        raise InvalidRequest(f"{name!r} is not a snapshot name", hint="use up to 64 letters, digits, '-', '_' and '.'")


def _since(started: float) -> float:
    return round((time.monotonic() - started) * 1000, 1)
