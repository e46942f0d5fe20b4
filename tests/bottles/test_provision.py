"""The prompt and the skills of an agent reach its guest, and what must not is refused before."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from claude_bottle.provision.prompt import provision_prompt
from claude_bottle.provision.skill_check import MOST_BYTES, MOST_FILES, check_skills
from claude_bottle.provision.skills import host_skill_dir, provision_skills
from pyro_mcp.errors import InvalidRequest, NotFound
from tests.bottles.memory_guest import MemoryGuest


@pytest.fixture
def skills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of skills of this host, with one skill `review`."""
    folder = tmp_path / "skills"
    (folder / "review").mkdir(parents=True)
    (folder / "review/SKILL.md").write_text("---\nname: review\n---\nLook twice.\n")
    monkeypatch.setenv("CLAUDE_BOTTLE_SKILLS_DIR", str(folder))
    monkeypatch.delenv("CLAUDE_BOTTLE_GUEST_SKILLS_DIR", raising=False)
    return folder


@pytest.mark.parametrize("prompt", ["Be brief.", "Ünï\u202e \U0001f9ea\x00\r\n", "- '\"$(x)`\\"])
def test_a_prompt_reaches_the_guest_byte_for_byte(prompt: str, tmp_path: Path) -> None:
    file, guest = tmp_path / "prompt.txt", MemoryGuest("/home/agent")
    file.write_bytes(prompt.encode())

    assert provision_prompt(guest, file, prompt) == "/home/agent/.claude-bottle-prompt.txt"
    assert guest.files == {"/home/agent/.claude-bottle-prompt.txt": prompt.encode()}
    assert len(guest.calls) == 1


def test_an_empty_prompt_is_copied_and_not_named(tmp_path: Path) -> None:
    file, guest = tmp_path / "prompt.txt", MemoryGuest()
    file.write_bytes(b"")

    assert provision_prompt(guest, file, "") is None
    assert guest.calls == [("copy_in", str(file), "/root/.claude-bottle-prompt.txt")]


def test_an_agent_without_skills_changes_nothing_in_the_guest() -> None:
    guest = MemoryGuest()
    provision_skills(guest, ())
    assert guest.calls == []


def test_a_skill_replaces_its_older_copy_in_the_guest(skills: Path) -> None:
    guest = MemoryGuest()
    (skills / "review/old.txt").write_text("old")
    provision_skills(guest, ["review"])
    (skills / "review/old.txt").unlink()
    provision_skills(guest, ["review"])

    assert list(guest.files) == ["/root/.claude/skills/review/SKILL.md"]
    assert guest.calls[3:] == [
        ("run", "mkdir", "-p", "/root/.claude/skills"),
        ("run", "rm", "-rf", "/root/.claude/skills/review"),
        ("copy_in", str(skills / "review"), "/root/.claude/skills/review"),
    ]


def test_a_skill_that_is_a_link_to_another_folder_of_skills_is_copied_as_a_folder(skills: Path) -> None:
    (skills / "another-name").symlink_to("review")
    guest = MemoryGuest()
    provision_skills(guest, ["another-name"])
    assert list(guest.files) == ["/root/.claude/skills/another-name/SKILL.md"]
    assert ("copy_in", str(skills / "review"), "/root/.claude/skills/another-name") in guest.calls


@pytest.mark.usefixtures("skills")
def test_the_folder_of_skills_in_the_guest_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAUDE_BOTTLE_GUEST_SKILLS_DIR", "/srv/skills")
    guest = MemoryGuest()
    provision_skills(guest, ["review"])
    assert list(guest.files) == ["/srv/skills/review/SKILL.md"]


@pytest.mark.usefixtures("skills")
def test_a_missing_skill_ends_the_launch_before_anything_is_copied() -> None:
    guest = MemoryGuest()
    with pytest.raises(SystemExit, match="absent"):
        provision_skills(guest, ["review", "absent"])
    assert guest.calls == []


def test_the_check_of_skills_says_how_large_each_one_is(skills: Path) -> None:
    (skills / "review/more").mkdir()
    (skills / "review/more/data").write_bytes(bytes(1000))
    os.symlink("more/data", skills / "review/link")

    (found,) = check_skills(["review"])
    assert (found.name, found.folder, found.files) == ("review", host_skill_dir("review"), 4)
    assert found.size_bytes == 1000 + len((skills / "review/SKILL.md").read_bytes())


def test_a_skill_with_a_link_out_of_its_folder_is_refused(skills: Path) -> None:
    os.symlink("/etc/shadow", skills / "review/shadow")
    with pytest.raises(InvalidRequest, match="link out of its folder: shadow leads to /etc/shadow"):
        check_skills(["review"])


def test_a_skill_that_is_a_link_out_of_the_folder_of_skills_is_refused(skills: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/SKILL.md").write_text("x")
    os.symlink(tmp_path / "elsewhere", skills / "linked")
    with pytest.raises(InvalidRequest, match="is a link out of the folder of skills"):
        check_skills(["linked"])


def test_a_skill_with_a_pipe_is_refused(skills: Path) -> None:
    os.mkfifo(skills / "review/pipe")
    with pytest.raises(InvalidRequest, match="has a pipe: pipe"):
        check_skills(["review"])


def test_a_skill_of_200_megabytes_is_refused(skills: Path) -> None:
    with open(skills / "review/model.bin", "wb") as file:
        file.truncate(200 * 1024 * 1024)
    with pytest.raises(InvalidRequest, match=f"more than .* {MOST_BYTES // 1024 // 1024} MiB"):
        check_skills(["review"])


def test_a_skill_with_too_many_files_is_refused(skills: Path) -> None:
    for number in range(MOST_FILES):
        (skills / f"review/{number}").touch()
    with pytest.raises(InvalidRequest, match=f"more than {MOST_FILES} files"):
        check_skills(["review"])


def test_a_skill_that_is_nested_without_end_is_refused(skills: Path) -> None:
    (skills / "review").joinpath(*["x"] * 40).mkdir(parents=True)
    with pytest.raises(InvalidRequest, match="nested deeper"):
        check_skills(["review"])


def test_a_folder_that_describes_no_skill_is_refused(skills: Path) -> None:
    (skills / "empty").mkdir()
    with pytest.raises(InvalidRequest, match=r"has no SKILL\.md"):
        check_skills(["empty"])
    with pytest.raises(NotFound, match="absent"):
        check_skills(["absent"])
