"""What a new workspace holds when the model names no seed: the project that the server was started for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyro_mcp.errors import DeadlineExceeded, HostCommandFailed, InvalidRequest, NoSpace
from pyro_mcp.hints import Argument, Hint
from pyro_mcp.host.files import temporary_folder
from pyro_mcp.host.process import run

_CLONE_SECONDS = 600.0


@dataclass(frozen=True)
class ProjectSource:
    """A folder on this host, or a repository to clone; neither when there is no project.

    `detected` tells that nobody named the folder: it is the git checkout around the current one.
    """

    path: Path | None = None
    repo_url: str | None = None
    repo_ref: str | None = None
    detected: bool = False

    def __str__(self) -> str:
        if self.repo_url is not None:
            reference = f" at {self.repo_ref}" if self.repo_ref else ""
            return f"a clean clone of {without_credentials(self.repo_url)}{reference}"
        return f"the project {self.path}" if self.path is not None else "nothing: /workspace is empty"

    @contextmanager
    def seed(self) -> Iterator[dict[str, Any]]:
        """Yield the arguments of `create_workspace` that seed it with the project.

        Raises `HostToolMissing` without git, `HostCommandFailed` when the repository cannot be cloned.
        """
        if self.repo_url is not None:
            with temporary_folder() as folder:
                commit = clone(self.repo_url, self.repo_ref, folder / "clone")
                yield {
                    "seed_path": folder / "clone",
                    "seed_origin": ("repo_url", f"{without_credentials(self.repo_url)}@{commit}"),
                }
        elif self.path is not None:
            yield {"seed_path": self.path, "seed_origin": ("project_path", str(self.path))}
        else:
            yield {}


def project_source(
    project_path: str | Path | None = None,
    repo_url: str | None = None,
    repo_ref: str | None = None,
    *,
    no_project_source: bool = False,
) -> ProjectSource:
    """Return the source that these options name; without any, the git checkout around the current folder, if any.

    Raises `InvalidRequest` for a folder that is not there, and for what is no address or reference.
    """
    if repo_url is not None:
        return ProjectSource(repo_url=_checked(repo_url, "repository"), repo_ref=repo_ref and _checked(repo_ref, "ref"))
    if project_path is not None:
        folder = Path(project_path).expanduser().absolute()
        if not folder.is_dir():
            raise InvalidRequest(f"{folder} is not a folder", hint="give the folder of a project that is on this host")
        return ProjectSource(folder)
    found = None if no_project_source else checkout_around(Path.cwd())
    return ProjectSource(found, detected=found is not None)


# By `git rev-parse --local-env-vars`, without those that may bring credentials. In a hook they name the user's own
# repository, and they count more than a folder does.
GIT_REPOSITORY_VARIABLES = frozenset(
    {
        "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_COMMON_DIR", "GIT_CONFIG", "GIT_DIR", "GIT_GRAFT_FILE",
        "GIT_IMPLICIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_INTERNAL_SUPER_PREFIX", "GIT_NO_REPLACE_OBJECTS",
        "GIT_OBJECT_DIRECTORY", "GIT_PREFIX", "GIT_REPLACE_REF_BASE", "GIT_SHALLOW_FILE", "GIT_WORK_TREE",
    }
)  # fmt: skip


def checkout_around(folder: Path) -> Path | None:
    """Return the root of the git checkout around a folder; no program is run."""
    for candidate in (folder, *folder.parents):
        if (candidate / ".git").exists():
            return candidate
    return None


def clone(url: str, ref: str | None, folder: Path) -> str:
    """Clone one commit of a repository into a new folder with the user's git credentials; return its id."""
    folder.mkdir()
    git = ["git", "-C", str(folder)]
    _git(["git", "init", "--quiet", str(folder)], url)
    _git([*git, "remote", "add", "origin", without_credentials(url)], url)
    _git([*git, "fetch", "--quiet", "--depth=1", "--no-tags", "--", url, ref or "HEAD"], url)
    _git([*git, "checkout", "--quiet", "--detach", "FETCH_HEAD"], url)
    (folder / ".git/FETCH_HEAD").unlink(missing_ok=True)  # it names the address, credentials included
    return _git([*git, "rev-parse", "HEAD"], url).strip()


def _git(command: list[str], url: str) -> str:
    # The user's own environment: ssh agents, credential helpers and proxies are configured there. No question is
    # asked, for there is nobody to answer.
    own = {name: value for name, value in os.environ.items() if name not in GIT_REPOSITORY_VARIABLES}
    environ = {"GIT_SSH_COMMAND": "ssh -o BatchMode=yes", **own, "GIT_TERMINAL_PROMPT": "0"}
    try:
        done = run(command, deadline_seconds=_CLONE_SECONDS, extra_environment=environ)
    except HostCommandFailed as error:
        raise HostCommandFailed(
            f"cannot clone: {error.message.replace(url, without_credentials(url))}",
            hint="try it with 'git clone' in a terminal; pyro uses the same credentials, but cannot ask for any",
        ) from None  # the first one's hint holds the command, and that the credentials
    except NoSpace as error:
        raise NoSpace(error.message, hint="free some space in the folder for temporary files ($TMPDIR)") from None
    except DeadlineExceeded:
        raise DeadlineExceeded(f"git did not clone {without_credentials(url)} in {_CLONE_SECONDS:.0f} s") from None
    return done.stdout.decode(errors="replace")


def without_credentials(url: str) -> str:
    """Return the address without its user name and password."""
    scheme, found, rest = url.partition("://")
    if not found or not scheme.startswith("http"):
        return url  # the user of an ssh address is not secret, and part of it
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def _checked(word: str, what: str) -> str:
    if not word or word.startswith("-") or not word.isprintable():
        raise InvalidRequest(
            f"{word!r} is no {what}",
            hint=Hint("for example {}", Argument("repo_url", "https://example.org/project.git")),
        )
    return word
