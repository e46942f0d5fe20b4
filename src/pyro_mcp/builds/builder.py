"""Build environments from Dockerfiles: each stage in a machine of its own that is gone afterwards."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from pyro_mcp.builds.build_definition import BuildDefinition
from pyro_mcp.builds.build_plan import BuildPlan, Stage, read_build_plan
from pyro_mcp.builds.copied_files import BuildContext, CopySource, Spool
from pyro_mcp.builds.stage_machines import BuildMachines, BuildOptions
from pyro_mcp.builds.stage_runner import BuildInputs, StageRunner, StageSettings
from pyro_mcp.environments import CustomDetails, EnvironmentStore, Instruction, ignored_by, parse_dockerfile
from pyro_mcp.host.progress import Progress
from pyro_mcp.machines import Images, Lifecycle, MachineRecord, network_environ
from pyro_mcp.results import EnvironmentDetails
from pyro_mcp.trees import GuestTree, push
from pyro_mcp.workspaces import EnvironmentSaver, ToolOf, system_tree


@dataclass(frozen=True)
class _Done:
    """A stage that is finished: its stopped machine, and what its instructions have set."""

    record: MachineRecord
    settings: StageSettings


class EnvironmentBuilder:
    """Builds environments."""

    def __init__(
        self, lifecycle: Lifecycle, images: Images, environments: EnvironmentStore, saving: EnvironmentSaver
    ) -> None:
        self._lifecycle = lifecycle
        self._images = images
        self._environments = environments
        self._saving = saving

    def build(
        self, name: str, recipe: BuildDefinition, options: BuildOptions, *, replace: bool, progress: Progress
    ) -> EnvironmentDetails:
        """Build an environment; a step that fails leaves nothing. Raises `EnvironmentFailed` with the step's output."""
        self._environments.check_name_free(name, replace=replace)
        plan = read_build_plan(recipe.dockerfile, options.build_args)
        target = plan.target(options.target)
        machines = BuildMachines(self._lifecycle, self._images, self._environments, options, progress)
        with ExitStack() as stack:
            done = _Build(machines, plan, recipe, options, stack).finished(target)
            origin = {
                "dockerfile": str(recipe.path),
                "dockerfile_digest": f"sha256:{hashlib.sha256(recipe.dockerfile.encode()).hexdigest()}",
                "config": done.settings.recorded,
                "ignored": [*recipe.ignored, *done.settings.ignored],
            }
            about = CustomDetails("built", f"built from {recipe.path.name}", done.settings.environ, origin)
            return self._saving.keep_stopped(name, done.record, about, replace=replace, progress=progress)


class _Build:
    """One build under way. Stages are carried out when something needs them."""

    def __init__(
        self, machines: BuildMachines, plan: BuildPlan, recipe: BuildDefinition, options: BuildOptions, stack: ExitStack
    ) -> None:
        self._machines = machines
        self._plan = plan
        self._recipe = recipe
        self._options = options
        self._progress = machines.progress
        self._stack = stack
        self._finished: dict[int, _Done] = {}
        self._step = 0
        ignore = recipe.context / ".dockerignore"
        self._context = BuildContext(recipe.context, ignored_by(ignore.read_text() if ignore.is_file() else ""))

    def finished(self, stage: Stage) -> _Done:
        """A stage that is carried out; its machine stays, stopped, until the build ends."""
        if stage.number not in self._finished:
            record, settings = self._begun(stage)
            given = BuildInputs(
                self._context,
                self._options.build_args,
                self._plan.args,
                partial(self._taken, stage),
                self._options.step_seconds,
                self._options.link.on,
                network_environ(self._options.link),
            )
            with self._machines.session(record) as session:
                machine = StageRunner(session, system_tree(session), settings, given, self._progress)
                for one in stage.steps:
                    machine.carry_out(one, self._place())
                if stage == self._plan.target(self._options.target) and self._recipe.project is not None:
                    self._progress("copying the project", None)
                    push(GuestTree(ToolOf(session)), self._recipe.project, "/workspace")
                    settings.workdir = "/workspace"
                    for one in parse_dockerfile(self._recipe.afterwards):
                        machine.carry_out(one, "[in the project]")
            self._finished[stage.number] = _Done(self._machines.stop(record), settings)
        return self._finished[stage.number]

    def _begun(self, stage: Stage) -> tuple[MachineRecord, StageSettings]:
        """The running machine of a stage, and what it begins with."""
        base = stage.base.expanded({**self._plan.args, **self._options.build_args})[0]
        earlier = self._plan.named(base, before=stage.number)
        if earlier is not None:
            before = self.finished(earlier)
            self._progress(f"{self._place()} {stage.base.shown()}", None)
            return self._stack.enter_context(self._machines.after(before.record)), before.settings.inherited()
        self._progress(f"{self._place()} {stage.base.shown()}", None)
        environment = self._machines.environment(stage.base, base)
        record = self._stack.enter_context(self._machines.fresh(environment))
        return record, StageSettings(self._machines.environ(environment))

    def _taken(self, stage: Stage, one: Instruction, name: str, pattern: str, spool: Spool) -> list[CopySource]:
        """Files out of another stage, or out of an environment."""
        earlier = self._plan.named(name, before=stage.number)
        with ExitStack() as machines:
            if earlier is not None:
                session = machines.enter_context(self._machines.reading(self.finished(earlier).record))
            else:
                record = machines.enter_context(self._machines.fresh(self._machines.environment(one, name)))
                session = machines.enter_context(self._machines.session(record))
            return spool.take(system_tree(session), "/" + pattern.lstrip("/"))

    def _place(self) -> str:
        self._step += 1
        return f"[{self._step}/{self._plan.step_count}]"
