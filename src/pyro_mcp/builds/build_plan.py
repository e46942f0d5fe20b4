"""The stages of a Dockerfile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pyro_mcp.environments import Instruction, parse_dockerfile
from pyro_mcp.errors import InvalidRequest, NotFound
from pyro_mcp.hints import Argument, Hint


@dataclass(frozen=True)
class Stage:
    """One stage: its FROM, and what comes after it. `name` is in small letters, or empty."""

    number: int
    name: str
    base: Instruction
    steps: Sequence[Instruction]


@dataclass(frozen=True)
class BuildPlan:
    """What a Dockerfile says: `args` are those before the first stage, with their values."""

    args: Mapping[str, str]
    stages: Sequence[Stage]

    def target(self, name: str | None) -> Stage:
        """The stage to build, the last one by default; raises `NotFound`."""
        if name is None:
            return self.stages[-1]
        found = self.named(name, before=len(self.stages))
        if found is None:
            known = ", ".join(stage.name or str(stage.number) for stage in self.stages)
            raise NotFound(f"the Dockerfile has no stage {name!r}", hint=f"it has: {known}")
        return found

    def named(self, name: str, *, before: int) -> Stage | None:
        """The stage of that name or number among the first ones; the last of them counts."""
        found = [one for one in self.stages[:before] if name.lower() == one.name or name == str(one.number)]
        return found[-1] if found else None

    @property
    def step_count(self) -> int:
        return len(self.stages) + sum(len(stage.steps) for stage in self.stages)


def read_build_plan(dockerfile: str, build_args: Mapping[str, str]) -> BuildPlan:
    """The stages of a Dockerfile; raises `InvalidRequest` with the line of what is wrong."""
    args: dict[str, str] = {}
    stages: list[Stage] = []
    steps: list[Instruction] = []
    for one in parse_dockerfile(dockerfile):
        if one.keyword == "FROM":
            steps = []
            stages.append(_stage(one, len(stages), {**args, **build_args}, steps))
        elif stages:
            steps.append(one)
        elif one.keyword == "ARG":
            for word in one.expanded(args):
                name, has_default, default = word.partition("=")
                if name in build_args or has_default:
                    args[name] = build_args.get(name, default)
        else:
            raise one.fault("only ARG may stand before the first FROM")
    if not stages:
        raise InvalidRequest("the Dockerfile has no FROM", hint="begin it with, for example: FROM debian:12")
    return BuildPlan(args, stages)


def _stage(one: Instruction, number: int, variables: Mapping[str, str], steps: Sequence[Instruction]) -> Stage:
    words = one.expanded(variables)
    if len(words) not in (1, 3) or (len(words) == 3 and words[1].lower() != "as"):
        raise one.fault("is written FROM IMAGE or FROM IMAGE AS NAME")
    if not words[0]:
        raise one.fault("the name of the image is empty", hint=Hint("give it a value with {}", Argument("build_args")))
    return Stage(number, words[2].lower() if len(words) == 3 else "", one, steps)
