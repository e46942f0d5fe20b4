"""Divide a Dockerfile into build stages: each FROM, the instructions after it, and the stage that is the target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pyro_mcp.environments import Instruction, parse_dockerfile
from pyro_mcp.errors import InvalidRequest, NotFound
from pyro_mcp.hints import Argument, Hint


@dataclass(frozen=True)
class Stage:
    """One build stage: its FROM, and the instructions after it. `name` is in lower case, or empty."""

    number: int
    name: str
    from_instruction: Instruction
    instructions: Sequence[Instruction]


@dataclass(frozen=True)
class BuildPlan:
    """The stages of a Dockerfile; `args` are the ARG instructions before the first FROM, with their values."""

    args: Mapping[str, str]
    stages: Sequence[Stage]

    def target(self, name: str | None) -> Stage:
        """Return the stage to build, by default the last one; raises `NotFound`."""
        if name is None:
            return self.stages[-1]
        found = self.find(name, before=len(self.stages))
        if found is None:
            known = ", ".join(stage.name or str(stage.number) for stage in self.stages)
            raise NotFound(f"the Dockerfile has no stage {name!r}", hint=f"its stages are: {known}")
        return found

    def find(self, name: str, *, before: int) -> Stage | None:
        """Return the last of the stages 0 to `before` - 1 that has this name or number, or None."""
        found = [stage for stage in self.stages[:before] if name.lower() == stage.name or name == str(stage.number)]
        return found[-1] if found else None

    @property
    def step_count(self) -> int:
        return len(self.stages) + sum(len(stage.instructions) for stage in self.stages)


def read_build_plan(dockerfile: str, build_args: Mapping[str, str]) -> BuildPlan:
    """Return the stages of a Dockerfile; raises `InvalidRequest` with the number of the faulty line."""
    args: dict[str, str] = {}
    stages: list[Stage] = []
    instructions: list[Instruction] = []
    for instruction in parse_dockerfile(dockerfile):
        if instruction.keyword == "FROM":
            instructions = []
            stages.append(_stage(instruction, len(stages), {**args, **build_args}, instructions))
        elif stages:
            instructions.append(instruction)
        elif instruction.keyword == "ARG":
            for word in instruction.expanded_words(args):
                name, has_default, default = word.partition("=")
                if name in build_args or has_default:
                    args[name] = build_args.get(name, default)
        else:
            raise instruction.error("only ARG may come before the first FROM")
    if not stages:
        raise InvalidRequest(
            "the Dockerfile has no FROM", hint="add one as the first instruction, for example: FROM debian:12"
        )
    return BuildPlan(args, stages)


def _stage(
    instruction: Instruction, number: int, variables: Mapping[str, str], instructions: Sequence[Instruction]
) -> Stage:
    words = instruction.expanded_words(variables)
    if len(words) not in (1, 3) or (len(words) == 3 and words[1].lower() != "as"):
        raise instruction.error("its form is FROM IMAGE or FROM IMAGE AS NAME")
    if not words[0]:
        raise instruction.error(
            "the name of the image is empty", hint=Hint("give it a value with {}", Argument("build_args"))
        )
    return Stage(number, words[2].lower() if len(words) == 3 else "", instruction, instructions)
