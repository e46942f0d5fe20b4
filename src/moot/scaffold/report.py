"""`.moot/init-report.md`: what `moot init` has done, for the person and for a coding agent that goes on from there."""

from __future__ import annotations

import time

from moot.scaffold.options import InitResult


def report_text(result: InitResult, *, rotated: bool) -> str:
    """Return the report. `rotated` says that this run gave keys to agents."""
    staged = [one for one in result.files if one.outcome == "staged"]
    names = ", ".join(one.display_name for one in result.agents.values())
    lines = [
        "# moot init report",
        "",
        f"Generated {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())}.",
        f"Default space: {result.space_id} ({result.space_name})",
        f"Backend: {result.api_url}",
        "",
        "## Mechanical setup (done)",
        "",
    ]
    if rotated:
        lines += [
            f"- Gave keys to {len(result.agents)} agents: {names}.",
            "- Wrote `.moot/actors.json` (chmod 600).",
            "- Wrote `moot.toml`." if result.moot_toml == "written" else "- Kept `moot.toml` as it was.",
            "- `.gitignore` holds `.moot/`.",
        ]
    else:
        lines.append(f"- Compared the files again; did not change the keys of {len(result.agents)} agents: {names}.")
    lines += [f"- Warning: {one}" for one in result.warnings]
    lines += ["", "## Files ready to use directly", ""]
    lines += [f"- `{one.path}`" for one in result.files if one.outcome != "staged"] or ["- None."]
    if staged:
        lines += [
            "",
            "## Files that need your judgement",
            "",
            "The project has its own version of these. Compare each with the suggested one,",
            "take over what is useful, then remove the suggestion.",
        ]
        for one in staged:
            lines += ["", f"### `{one.path}`", "", f"- The project's own: `{_own(one.kind, one.name)}`"]
    after = " once your agent has reviewed the files above" if staged else ""
    commit = "Commit the new files: the worktree of an agent contains only committed files."
    lines += ["", "## Next step", "", commit, f"Then run `moot up`{after}."]
    return "\n".join(lines) + "\n"


def _own(kind: str, name: str) -> str:
    return f".claude/skills/{name}" if kind == "skill" else name
