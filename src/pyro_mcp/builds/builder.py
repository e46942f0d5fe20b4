"""Run a build: build the stages that the target stage needs, then save the target's file system as an environment."""

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
class _FinishedStage:
    """The stopped machine of a finished stage, and the settings that its instructions left."""

    record: MachineRecord
    settings: StageSettings


class EnvironmentBuilder:
    """Builds environments from build definitions."""

    def __init__(
        self, lifecycle: Lifecycle, images: Images, environments: EnvironmentStore, saving: EnvironmentSaver
    ) -> None:
        self._lifecycle = lifecycle
        self._images = images
        self._environments = environments
        self._saving = saving

    def build(
        self, name: str, definition: BuildDefinition, options: BuildOptions, *, replace: bool, progress: Progress
    ) -> EnvironmentDetails:
        """Build an environment. A step that fails leaves nothing and raises `EnvironmentFailed` with its output."""
        self._environments.check_name_free(name, replace=replace)
        plan = read_build_plan(definition.dockerfile, options.build_args)
        target = plan.target(options.target)
        machines = BuildMachines(self._lifecycle, self._images, self._environments, options, progress)
        with ExitStack() as stack:
            finished = _Build(machines, plan, definition, options, stack).finish(target)
            origin = {
                "dockerfile": str(definition.path),
                "dockerfile_digest": f"sha256:{hashlib.sha256(definition.dockerfile.encode()).hexdigest()}",
                "config": finished.settings.image_config,
                "ignored": [*definition.ignored, *finished.settings.ignored],
            }
            description = f"built from {definition.path.name}"
            details = CustomDetails("built", description, finished.settings.environ, origin)
            return self._saving.keep_stopped(name, finished.record, details, replace=replace, progress=progress)


class _Build:
    """One build in progress. A stage is built when the target or another stage needs it."""

    def __init__(
        self,
        machines: BuildMachines,
        plan: BuildPlan,
        definition: BuildDefinition,
        options: BuildOptions,
        stack: ExitStack,
    ) -> None:
        self._machines = machines
        self._plan = plan
        self._definition = definition
        self._options = options
        self._progress = machines.progress
        self._stack = stack
        self._finished: dict[int, _FinishedStage] = {}
        self._step = 0
        ignore_file = definition.context / ".dockerignore"
        rules = ignore_file.read_text() if ignore_file.is_file() else ""
        self._context = BuildContext(definition.context, ignored_by(rules))

    def finish(self, stage: Stage) -> _FinishedStage:
        """Build a stage unless that is done. Its stopped machine exists until the build ends."""
        if stage.number not in self._finished:
            record, settings = self._start(stage)
            inputs = BuildInputs(
                self._context,
                self._options.build_args,
                self._plan.args,
                partial(self._read_from, stage),
                self._options.step_seconds,
                self._options.network_policy.on,
                network_environ(self._options.network_policy),
            )
            with self._machines.connection(record) as connection:
                runner = StageRunner(connection, system_tree(connection), settings, inputs, self._progress)
                for instruction in stage.instructions:
                    runner.execute(instruction, self._next_step())
                if stage == self._plan.target(self._options.target) and self._definition.project is not None:
                    self._progress("copying the project", None)
                    push(GuestTree(ToolOf(connection)), self._definition.project, "/workspace")
                    settings.workdir = "/workspace"
                    for instruction in parse_dockerfile(self._definition.project_instructions):
                        runner.execute(instruction, "[in the project]")
            self._finished[stage.number] = _FinishedStage(self._machines.stop(record), settings)
        return self._finished[stage.number]

    def _start(self, stage: Stage) -> tuple[MachineRecord, StageSettings]:
        """Start the machine of a stage from its base image or base stage; return it with its first settings."""
        base = stage.from_instruction.expanded_words({**self._plan.args, **self._options.build_args})[0]
        base_stage = self._plan.find(base, before=stage.number)
        if base_stage is not None:
            finished = self.finish(base_stage)
            self._progress(f"{self._next_step()} {stage.from_instruction.summary()}", None)
            machine = self._stack.enter_context(self._machines.from_stopped(finished.record))
            return machine, finished.settings.inherited()
        self._progress(f"{self._next_step()} {stage.from_instruction.summary()}", None)
        environment = self._machines.environment(stage.from_instruction, base)
        record = self._stack.enter_context(self._machines.from_environment(environment))
        return record, StageSettings(self._machines.environ(environment))

    def _read_from(
        self, stage: Stage, instruction: Instruction, name: str, pattern: str, spool: Spool
    ) -> list[CopySource]:
        """Read the files that `COPY --from=NAME` in `stage` names: from an earlier stage, or from an environment."""
        earlier = self._plan.find(name, before=stage.number)
        with ExitStack() as machines:
            if earlier is not None:
                connection = machines.enter_context(self._machines.inspect(self.finish(earlier).record))
            else:
                environment = self._machines.environment(instruction, name)
                record = machines.enter_context(self._machines.from_environment(environment))
                connection = machines.enter_context(self._machines.connection(record))
            return spool.read(system_tree(connection), "/" + pattern.lstrip("/"))

    def _next_step(self) -> str:
        """Count a step; return its label for progress messages, for example "[3/7]"."""
        self._step += 1
        return f"[{self._step}/{self._plan.step_count}]"
