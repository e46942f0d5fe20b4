"""The workflows, over something of the shape of `Pyro`; and their pages, targets and registry, which tell the same."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pyro_mcp import Pyro
from pyro_mcp import workspace_use_case_smokes as smokes
from pyro_mcp.errors import GuestFailed
from pyro_mcp.mcp_server import MODES, PROFILES
from pyro_mcp.serving import ServeKeywords
from tests.style.project import ROOT
from tests.surfaces.use_case_stand_in import Interrupted, StandIn, StandInServer

INDEX = (ROOT / "docs/use-cases/README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
RECIPES = {recipe.scenario: recipe for recipe in smokes.WORKSPACE_USE_CASE_RECIPES}

Play = Callable[..., StandIn]


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    """Runs a scenario with a stand-in as the module's global `Pyro`; the stand-in, for a look at what it was told."""

    def play(scenario: str, kind: type[StandIn] = StandIn, **options: Any) -> StandIn:
        pyro = kind(tmp_path, **options)
        monkeypatch.setattr(smokes, "Pyro", lambda: pyro)
        try:
            smokes.run_workspace_use_case_scenario(scenario, environment="debian:12-base")
        finally:
            assert pyro.records == {}, "a workspace was left behind"
        return pyro

    return play


@pytest.mark.parametrize("scenario", smokes.USE_CASE_SCENARIOS)
def test_a_workflow_holds_with_anything_of_the_shape_of_pyro(scenario: str, play: Play) -> None:
    assert play(scenario).created


def test_all_runs_each_of_them(play: Play) -> None:
    assert len(play("all").created) == 6


def test_an_unknown_scenario_is_named_with_those_there_are(play: Play) -> None:
    with pytest.raises(ValueError, match="unknown use-case scenario 'nonesuch'; there are: cold-start-validation"):
        play("nonesuch")


@pytest.mark.parametrize("scenario", smokes.USE_CASE_SCENARIOS)
def test_whichever_call_fails_no_workspace_is_left(scenario: str, play: Play, tmp_path: Path) -> None:
    calls = play(scenario).calls

    for number in range(1, calls + 1):
        for folder in tmp_path.iterdir():
            folder.rename(folder.with_name(f"{number}-{folder.name}"))
        with pytest.raises(Interrupted):
            play(scenario, fail_at=number)


class OnTheHost(StandIn):
    execution_mode = "host_compat"


class Silent(StandIn):
    """Names no execution mode anywhere."""

    def create_workspace(self, **options: Any) -> dict[str, Any]:
        made = super().create_workspace(**options)
        del self.records[made["workspace_id"]]["execution_mode"], made["execution_mode"]
        return made

    def exec_workspace(self, id_: str, *, command: str) -> dict[str, Any]:
        done = super().exec_workspace(id_, command=command)
        del done["execution_mode"]
        return done


@pytest.mark.parametrize("scenario", smokes.USE_CASE_SCENARIOS)
def test_a_workflow_that_does_not_run_in_a_guest_fails(scenario: str, play: Play) -> None:
    with pytest.raises(GuestFailed, match="not a guest's"):
        play(scenario, OnTheHost)


@pytest.mark.parametrize("scenario", smokes.USE_CASE_SCENARIOS)
def test_a_workflow_whose_results_name_no_execution_mode_passes(scenario: str, play: Play) -> None:
    assert play(scenario, Silent).created


class OtherState(StandIn):
    """Its service writes another state than serve.sh says."""

    def start_service(self, id_: str, name: str, *, command: str, readiness: dict[str, str]) -> dict[str, Any]:
        started = super().start_service(id_, name, command=command, readiness=readiness)
        (self.tree(id_) / "service-state.txt").write_text("running\n")
        return started


class NeverResets(StandIn):
    def reset_workspace(self, id_: str, *, snapshot: str = "baseline") -> dict[str, Any]:
        return dict(self.records[id_])


class Shared(StandIn):
    """All workspaces have one tree."""

    def tree(self, id_: str) -> Path:
        return super().tree(id_).parents[1] / "w0/workspace"


class ByAge(StandIn):
    """Lists the newest first, whatever is used."""

    def touch(self, id_: str, *, count: bool = True) -> None:
        self.records[id_].setdefault("last_activity_at", len(self.created))


class Forgetful(StandIn):
    def update_workspace(self, id_: str, *, labels: dict[str, str]) -> dict[str, Any]:
        return dict(self.records[id_])


class Curious(StandIn):
    """Runs what it is shown."""

    def read_workspace_file(self, id_: str, path: str) -> dict[str, Any]:
        (self.tree(id_) / "suspicious-was-here.txt").touch()
        return super().read_workspace_file(id_, path)


class Online(StandIn):
    def create_workspace(self, **options: Any) -> dict[str, Any]:
        return super().create_workspace(**{**options, "network_policy": "egress"})


class Unready(StandIn):
    def start_service(self, id_: str, name: str, *, command: str, readiness: dict[str, str]) -> dict[str, Any]:
        return {"state": "failed"}


class WrongSeed(StandIn):
    def create_server(self, *, profile: str, project_path: Path) -> StandInServer:
        return super().create_server(profile=profile, project_path=project_path.parent)


class Careless(StandIn):
    """Every command succeeds."""

    def exec_workspace(self, id_: str, *, command: str) -> dict[str, Any]:
        return {**super().exec_workspace(id_, command=command), "exit_code": 0}


@pytest.mark.parametrize(
    ("scenario", "kind"),
    [
        ("cold-start-validation", Unready),
        ("cold-start-validation", OtherState),
        ("repro-fix-loop", NeverResets),
        ("repro-fix-loop", WrongSeed),
        ("repro-fix-loop", Careless),
        ("parallel-workspaces", Shared),
        ("parallel-workspaces", ByAge),
        ("parallel-workspaces", Forgetful),
        ("untrusted-inspection", Curious),
        ("untrusted-inspection", Online),
        ("review-eval", NeverResets),
    ],
)
def test_a_promise_that_is_not_kept_is_noticed(scenario: str, kind: type[StandIn], play: Play) -> None:
    with pytest.raises(GuestFailed, match=r"does not hold|but should"):
        play(scenario, kind)


def test_the_answer_of_todays_sdk_is_taken_too(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        StandInServer, "answer", lambda _, made: SimpleNamespace(structured_content=made, is_error=False, content=[])
    )

    assert play("repro-fix-loop").created == ["w0"]


def test_a_tool_that_fails_is_told_as_what_it_said(play: Play) -> None:
    class Refusing(StandInServer):
        async def call_tool(self, name: str, arguments: dict[str, Any]) -> object:
            return SimpleNamespace(structured_content=None, is_error=True, content="no space: the disk is full")

    class Full(StandIn):
        def create_server(self, *, profile: str, project_path: Path) -> StandInServer:
            return Refusing(self, project_path)

    with pytest.raises(GuestFailed, match="the disk is full"):
        play("repro-fix-loop", Full)


def test_what_the_stand_in_takes_pyro_takes_too() -> None:
    for name, method in inspect.getmembers(StandIn, inspect.isfunction):
        if not name.startswith("_") and name not in ("tree", "touch"):
            real = inspect.signature(getattr(Pyro, name)).parameters.values()
            names = {one.name for one in real if one.kind is one.KEYWORD_ONLY or one.name in ("path", "recursive")}
            names |= ServeKeywords.__annotations__.keys() if name == "create_server" else set()
            asked = [one for one in inspect.signature(method).parameters.values() if one.kind is one.KEYWORD_ONLY]
            assert {one.name for one in asked} - names - {"environment", "profile"} == set(), name


def test_the_command_line_names_the_scenarios_and_the_environment() -> None:
    parser = smokes.build_arg_parser()

    assert vars(parser.parse_args([])) == {"scenario": "all", "environment": "debian:12"}
    given = parser.parse_args(["--scenario", "review-eval", "--environment", "debian:12-base"])
    assert vars(given) == {"scenario": "review-eval", "environment": "debian:12-base"}


@pytest.mark.parametrize(("kind", "exit_code"), [(StandIn, 0), (OnTheHost, GuestFailed.exit_code)])
def test_main_says_what_it_shows_and_how_it_ends(
    kind: type[StandIn],
    exit_code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(smokes, "Pyro", partial(kind, tmp_path))
    monkeypatch.setattr(sys, "argv", ["smokes", "--scenario", "untrusted-inspection"])

    assert smokes.main() == exit_code
    told = capsys.readouterr()
    assert ("nothing suspicious was ever run" in told.out) == (exit_code == 0)
    assert ("use case failed: the execution mode is 'host_compat'" in told.err) == (exit_code != 0)


def test_the_registry_holds_the_scenarios_in_their_order() -> None:
    assert tuple(RECIPES) == smokes.USE_CASE_SCENARIOS
    assert (*RECIPES, "all") == smokes.USE_CASE_CHOICES


@pytest.mark.parametrize("scenario", RECIPES)
def test_a_recipe_names_a_mode_and_a_profile_that_there_are(scenario: str) -> None:
    recipe = RECIPES[scenario]

    # What the mode offers, the profile offers too.
    assert set(MODES[recipe.mode].names) <= set(PROFILES[recipe.profile].names)
    assert recipe.smoke_target == f"smoke-{scenario}"


@pytest.mark.parametrize("scenario", RECIPES)
def test_a_page_tells_what_its_recipe_says(scenario: str) -> None:
    recipe = RECIPES[scenario]
    page = (ROOT / recipe.doc_path).read_text()

    assert page.startswith(f"# {recipe.title}\n")
    for words in (f"`pyro mcp serve --mode {recipe.mode}`", f"`{recipe.profile}`", f"`make {recipe.smoke_target}`"):
        assert words in page
    for heading in ("## Ask", "## What happens", "## Proof"):
        assert heading in page


@pytest.mark.parametrize("scenario", RECIPES)
def test_the_index_and_the_makefile_lead_to_every_workflow(scenario: str) -> None:
    recipe = RECIPES[scenario]
    name = Path(recipe.doc_path).name

    assert (
        f"| [{recipe.title}]({name}) | `{recipe.mode}` | `{recipe.profile}` | `make {recipe.smoke_target}` |" in INDEX
    )
    assert re.search(rf"^{recipe.smoke_target}: setup ## .+\n\t@\$\(SCENARIO\) {scenario}$", MAKEFILE, re.MULTILINE)


def test_there_is_no_page_and_no_target_beside_those_of_the_registry() -> None:
    pages = {f"docs/use-cases/{path.name}" for path in (ROOT / "docs/use-cases").glob("*.md")}
    targets = set(re.findall(r"^(smoke-[a-z-]+):", MAKEFILE, re.MULTILINE))

    assert pages == {recipe.doc_path for recipe in RECIPES.values()} | {"docs/use-cases/README.md"}
    assert targets == {recipe.smoke_target for recipe in RECIPES.values()} | {"smoke-use-cases", "smoke-daily-loop"}


def test_the_index_says_what_the_pack_is() -> None:
    assert "trustworthy, guest-backed verification path" in " ".join(INDEX.split())
    assert "`make smoke-use-cases`" in INDEX and "`make smoke-daily-loop`" in INDEX
