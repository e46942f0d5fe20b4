"""The agent's skills: folders of this host, copied to where the harness looks for skills."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from claude_bottle.backend.interface import Steps


def host_skill_dir(skill: str) -> str:
    """Return the folder of a skill on this host: below $CLAUDE_BOTTLE_SKILLS_DIR, else below ~/.claude/skills."""
    given = os.environ.get("CLAUDE_BOTTLE_SKILLS_DIR")
    return os.path.join(given or os.path.expanduser("~/.claude/skills"), skill)


def guest_skills_dir(home: str) -> str:
    """Return the folder of skills in a guest: $CLAUDE_BOTTLE_GUEST_SKILLS_DIR, else .claude/skills below `home`."""
    return os.environ.get("CLAUDE_BOTTLE_GUEST_SKILLS_DIR") or f"{home}/.claude/skills"


def provision_skills(
    guest: Steps, skills: Sequence[str], host_skill_dir: Callable[[str], str] = host_skill_dir
) -> None:
    """Copy each skill into the guest, in place of an older copy; do nothing without skills.

    The content of the skills was checked when the plan was made. Raises `SystemExit` before anything is copied if one
    is missing on this host.
    """
    if not skills:
        return
    folders = {skill: host_skill_dir(skill) for skill in skills}
    missing = [f"{skill} (no folder {folder})" for skill, folder in folders.items() if not os.path.isdir(folder)]
    if missing:
        raise SystemExit(f"claude-bottle: these skills are not on this host: {', '.join(missing)}")
    target = guest_skills_dir(guest.home)
    guest.run(["mkdir", "-p", target])
    for skill, folder in folders.items():
        guest.run(["rm", "-rf", f"{target}/{skill}"])
        # A copy of a link is a link, which leads nowhere in the guest.
        guest.copy_in(os.path.realpath(folder) if os.path.islink(folder) else folder, f"{target}/{skill}")
