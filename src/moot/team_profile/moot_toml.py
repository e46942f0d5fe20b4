"""The `moot.toml` that a team begins with."""

from __future__ import annotations

from collections.abc import Iterator

from moot.known_words import DEFAULT_HARNESS, DEFAULT_PROFILE, DEFAULT_RUNTIME, SKIP_PERMISSIONS
from moot.team_profile.profile import RoleProfile, TeamProfile
from moot.toml_tables import quoted


def generate_moot_toml(profile: TeamProfile, api_url: str, space_id: str | None = None) -> str:
    """Return the text of the `moot.toml` of a team."""
    roles = [role.name for role in profile.roles]
    harness = profile.roles[0].harness if profile.roles else DEFAULT_HARNESS
    interface = "product" if "product" in roles else next(iter(roles), "")
    lines = [
        "[convo]",
        f"api_url = {quoted(api_url)}",
        f"template = {quoted(profile.name)}",
        f"space_id = {quoted(space_id)}" if space_id else '# space_id = ""  # the space that the agents join',
    ]
    for role in profile.roles:
        lines += ["", f"[agents.{role.name}]", *_role(role, harness)]
    lines += [
        "",
        "[harness]",
        f"type = {quoted(harness)}",
        "# The agents act without asking: each can do what the place where it runs permits.",
        f"permissions = {quoted(SKIP_PERMISSIONS)}",
        f"human_interface = {quoted(interface)}",
        f'runtime = {quoted(DEFAULT_RUNTIME)}  # or "devcontainer", "bottle"',
    ]
    return "\n".join(lines) + "\n"


def _role(role: RoleProfile, harness: str) -> Iterator[str]:
    """Yield the lines of a role. One without a prompt gets the default one; `harness` is the team's."""
    yield f"display_name = {quoted(role.display_name)}"
    yield f"profile = {quoted(DEFAULT_PROFILE)}"
    if prompt := " ".join(role.startup_prompt.split()):
        yield f"startup_prompt = {quoted(prompt)}"
    if role.harness != harness:
        yield f"harness = {quoted(role.harness)}"
    for key, value in (("model", role.model), ("effort", role.effort), ("theme", role.theme)):
        if value:
            yield f"{key} = {quoted(value)}"
