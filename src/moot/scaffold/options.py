"""What a caller asks of `moot init`, and what it gets back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from moot.scaffold.files_of_project import Installed


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
class RoleAgent:
    """The agent of a role, without its key."""

    actor_id: str
    display_name: str


@dataclass(frozen=True)
class InitResult:
    """What `moot init` has done. `agents` has the roles; `moot_toml` is `written`, or `kept` for one that was there."""

    api_url: str
    space_id: str
    space_name: str
    template: str
    agents: Mapping[str, RoleAgent]
    files: tuple[Installed, ...]
    moot_toml: Literal["written", "kept"]
    report: Path
    warnings: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return {**asdict(self), "report": str(self.report)}
