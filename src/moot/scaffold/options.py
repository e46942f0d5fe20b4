"""What a caller asks of `moot init`, and what it gets back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from moot.scaffold.files_of_project import Installed
from moot.scaffold.journal import Member


def _silent(_line: str) -> None:
    """Say nothing."""


def _agree(_question: str) -> bool:
    return True


@dataclass(frozen=True)
class InitOptions:
    """The options of `moot init`. `say` gets each line of progress, `agree` each question."""

    force: bool = False
    update_suggestions: bool = False
    adopt_fresh_install: bool = False
    fresh: bool = False
    api_url: str | None = None
    profile: str | None = None
    roles: tuple[str, ...] = ()
    template: str | None = None
    say: Callable[[str], object] = _silent
    agree: Callable[[str], bool] = _agree


@dataclass(frozen=True)
class InitResult:
    """What `moot init` has done. `aborted` says that a question was answered with no."""

    api_url: str = ""
    space_id: str = ""
    space_name: str = ""
    template: str = ""
    agents: tuple[Mapping[str, str], ...] = ()
    files: tuple[Installed, ...] = ()
    moot_toml: str = ""
    report: Path | None = None
    warnings: tuple[str, ...] = field(default=())
    aborted: bool = False

    def with_members(self, members: Iterable[Member]) -> InitResult:
        """Return the result with these agents."""
        agents = ({"role": one.role, "actor_id": one.actor_id, "display_name": one.display_name} for one in members)
        return replace(self, agents=tuple(agents))

    def as_json(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return {
            **{name: getattr(self, name) for name in ("api_url", "space_id", "space_name", "template")},
            "agents": list(self.agents),
            "files": [vars(one) for one in self.files],
            "moot_toml": self.moot_toml,
            "report": str(self.report) if self.report else None,
            "warnings": list(self.warnings),
            "aborted": self.aborted,
        }
