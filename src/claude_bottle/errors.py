"""Every error that only bottles raise; all are errors of `pyro_mcp.errors`.

PyroError
├── InvalidRequest
│   └── ManifestError      a manifest that cannot be used; its problems name their path in the file
├── NotFound
│   └── NotInManifest      no such agent or bottle in the manifest
├── Conflict
│   └── NotTrusted         a project's manifest that the user has not approved
├── HostNotReady
│   └── ExtraMissing       the packages of an extra are not installed
├── HostCommandFailed
│   └── UpstreamFailed     the upstream of a bottle's git cannot be reached, or refuses; the message is git's
└── GuestFailed
    └── BottleFailed       a step of a launch, or a command in a bottle, failed
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from pyro_mcp.errors import Conflict, GuestFailed, HostCommandFailed, HostNotReady, InvalidRequest, NotFound

_MOST_SHOWN = 20


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in a manifest.

    `path` is its place, such as `bottles.dev.egress[2].host`; "" is the whole manifest. `file` is the manifest's file,
    "" when it was not read from one. `message` says what is wrong and, for a misspelt word, which word may be meant.
    """

    path: str
    message: str
    file: str = ""

    def __str__(self) -> str:
        return ": ".join(part for part in (self.file, self.path, self.message) if part)


class ManifestError(InvalidRequest):
    """A manifest that cannot be used, with all its problems."""

    code = "manifest_error"

    def __init__(self, problems: tuple[Problem, ...], *, hint: str = "") -> None:
        self.problems = problems
        lines = [str(one) for one in problems[:_MOST_SHOWN]]
        if len(problems) > 1:
            lines = ["the manifest has several problems", *(f"  {line}" for line in lines)]
        if len(problems) > _MOST_SHOWN:
            lines.append("  and more; correct these first")
        super().__init__("\n".join(lines), hint=hint)
        self.details = {"problems": [asdict(one) for one in problems]}


class NotInManifest(NotFound):
    code = "not_in_manifest"


class NotTrusted(Conflict):
    code = "not_trusted"


class ExtraMissing(HostNotReady):
    code = "extra_missing"

    def __init__(self, module: str, *, extra: str = "bottles") -> None:
        super().__init__(
            f"this needs the Python package {module}, which is not installed",
            hint=f"pip install 'pyro-mcp[{extra}]'",
        )


class UpstreamFailed(HostCommandFailed):
    code = "upstream_failed"


class BottleFailed(GuestFailed):
    code = "bottle_failed"
