"""The prompt and the skills reach a machine of smolvm by exactly the calls of the contract."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import MagicMock, call, patch

import pytest

from claude_bottle.backend import BottleSpec
from claude_bottle.backend.smolmachines.bottle_plan import SmolmachinesBottlePlan
from claude_bottle.backend.smolmachines.provision import prompt, skills
from claude_bottle.manifest import Manifest

MODULE = "claude_bottle.backend.smolmachines.provision"
HOME = "/root"
NAME = "agent-1"


def plan(*, text: str = "hello", names: tuple[str, ...] = (), prompt_file: Any = Path("/nowhere/prompt.txt")) -> Any:
    manifest = Manifest.from_json_obj(
        {"bottles": {"dev": {}}, "agents": {"demo": {"bottle": "dev", "prompt": text, "skills": list(names)}}}
    )
    return SmolmachinesBottlePlan(
        spec=BottleSpec(manifest=manifest, agent_name="demo", copy_cwd=False, user_cwd="/nowhere"),
        stage_dir=Path("/nowhere/stage"),
        slug="demo-1",
        bundle_subnet="10.0.2.0/24",
        bundle_gateway="10.0.2.2",
        bundle_ip="10.0.2.15",
        machine_name=NAME,
        agent_from_path=None,
        guest_env={},
        prompt_file=prompt_file,
    )


@pytest.fixture
def smolvm() -> Any:
    """Both functions, recorded in the order of their calls."""
    recorded = MagicMock()
    with (
        patch.object(vars(prompt)["_smolvm"], "machine_cp", recorded.machine_cp),
        patch.object(vars(prompt)["_smolvm"], "machine_exec", recorded.machine_exec),
    ):
        yield recorded


@pytest.mark.parametrize("text", ["hello", "", "Grüße 🌊 \u202e\x00 {}%s\n"])
@pytest.mark.parametrize("prompt_file", [Path("/nowhere/prompt.txt"), "/nowhere/prompt.txt"])
def test_the_prompt_is_one_copy_whatever_is_in_it(smolvm: MagicMock, text: str, prompt_file: Any) -> None:
    found = prompt.provision_prompt(plan(text=text, prompt_file=prompt_file), NAME)

    assert smolvm.mock_calls == [call.machine_cp("/nowhere/prompt.txt", f"{NAME}:{HOME}/.claude-bottle-prompt.txt")]
    assert found == (f"{HOME}/.claude-bottle-prompt.txt" if text else None)


def test_the_machine_is_the_one_that_is_named_not_the_plans(smolvm: MagicMock) -> None:
    prompt.provision_prompt(plan(), "another")

    assert smolvm.machine_cp.call_args.args[1].startswith("another:")


def test_without_skills_nothing_is_asked_of_the_machine_or_the_host(smolvm: MagicMock) -> None:
    with patch(f"{MODULE}.skills.host_skill_dir") as folder, patch(f"{MODULE}.skills.os.path.isdir") as isdir:
        skills.provision_skills(plan(), NAME)

    assert smolvm.mock_calls == []
    assert folder.mock_calls == isdir.mock_calls == []


def test_each_skill_replaces_its_old_copy_after_one_mkdir(smolvm: MagicMock, tmp_path: Path) -> None:
    target = f"{HOME}/.claude/skills"
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    with patch(f"{MODULE}.skills.host_skill_dir", side_effect=lambda name: str(tmp_path / name)):
        skills.provision_skills(plan(names=("a", "b")), NAME)

    assert smolvm.mock_calls == [
        call.machine_exec(NAME, ["mkdir", "-p", target]),
        call.machine_exec(NAME, ["rm", "-rf", f"{target}/a"]),
        call.machine_cp(str(tmp_path / "a"), f"{NAME}:{target}/a"),
        call.machine_exec(NAME, ["rm", "-rf", f"{target}/b"]),
        call.machine_cp(str(tmp_path / "b"), f"{NAME}:{target}/b"),
    ]


def test_the_folder_of_skills_is_read_from_the_environment_at_the_call(
    smolvm: MagicMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLAUDE_BOTTLE_GUEST_SKILLS_DIR", "/srv/skills")
    with (
        patch(f"{MODULE}.skills.host_skill_dir", return_value="/host/a"),
        patch(f"{MODULE}.skills.os.path.isdir", return_value=True),
    ):
        skills.provision_skills(plan(names=("a",)), NAME)

    assert [one.args for one in smolvm.machine_exec.mock_calls] == [
        (NAME, ["mkdir", "-p", "/srv/skills"]),
        (NAME, ["rm", "-rf", "/srv/skills/a"]),
    ]
    assert smolvm.machine_cp.mock_calls == [call("/host/a", f"{NAME}:/srv/skills/a")]


def test_a_missing_skill_ends_the_program_before_anything_is_copied(smolvm: MagicMock, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with (
        patch(f"{MODULE}.skills.host_skill_dir", side_effect=lambda name: str(tmp_path / name)),
        pytest.raises(SystemExit) as ended,
    ):
        skills.provision_skills(plan(names=("a", "gone")), NAME)

    assert "gone" in str(ended.value)
    assert smolvm.mock_calls == []


def test_the_whole_module_smolvm_can_be_replaced() -> None:
    with (
        patch(f"{MODULE}.skills._smolvm") as replaced,
        patch(f"{MODULE}.skills.host_skill_dir", return_value="/host/a"),
        patch(f"{MODULE}.skills.os.path.isdir", return_value=True),
    ):
        skills.provision_skills(plan(names=("a",)), NAME)

    assert [name for name, _, _ in replaced.mock_calls] == ["machine_exec", "machine_exec", "machine_cp"]


def test_a_plan_is_frozen() -> None:
    with pytest.raises(AttributeError):
        plan().slug = "other"
