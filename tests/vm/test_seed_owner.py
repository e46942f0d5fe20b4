"""A workspace whose tree belongs to an ordinary user of the guest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pyro_mcp import Pyro
from pyro_mcp.errors import InvalidRequest

AS_USER = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", "--"]


@pytest.fixture
def cleared(pyro: Pyro) -> Iterator[Pyro]:
    """The SDK; its workspaces are deleted afterwards."""
    yield pyro
    for one in pyro.list_workspaces()["workspaces"]:
        pyro.delete_workspace(one["workspace_id"])


def owners(pyro: Pyro, id_: str) -> str:
    return pyro.exec_workspace(id_, command="find /workspace -printf '%P %U:%G %m\n' | sort")["stdout"]


def test_a_user_owns_the_tree_from_the_start_and_after_a_reset(cleared: Pyro, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/file").write_text("old\n")
    for path in (tmp_path, tmp_path / "sub"):
        path.chmod(0o755)
    id_ = cleared.create_workspace("debian:12", seed_path=tmp_path, seed_owner=1000)["workspace_id"]
    as_seeded = owners(cleared, id_)
    assert as_seeded == " 1000:1000 755\nsub 1000:1000 755\nsub/file 1000:1000 644\n"
    work = [*AS_USER, "sh", "-euc", "echo new >> sub/file; mkdir more; git init -q .; git status --short"]
    done = cleared.exec_workspace(id_, command=work)
    assert (done["exit_code"], done["stdout"]) == (0, "?? sub/\n")
    cleared.write_workspace_file(id_, "more/pushed", text="by the host\n")
    assert "more/pushed 1000:1000" in owners(cleared, id_)
    assert "+new" in cleared.diff_workspace(id_)["patch"]
    cleared.reset_workspace(id_)
    assert owners(cleared, id_) == as_seeded


def test_an_empty_tree_may_belong_to_a_user_too(cleared: Pyro) -> None:
    id_ = cleared.create_workspace("debian:12", seed_owner=1000)["workspace_id"]
    assert cleared.exec_workspace(id_, command=[*AS_USER, "touch", "made"])["exit_code"] == 0
    assert owners(cleared, id_).splitlines() == [" 1000:1000 755", "made 1000:1000 644"]


@pytest.mark.parametrize("owner", [-1, 2**32 - 1, True, "agent"])
def test_what_is_not_the_number_of_a_user_is_refused(cleared: Pyro, owner: int) -> None:
    with pytest.raises(InvalidRequest, match="not the number of a user"):
        cleared.create_workspace("debian:12", seed_owner=owner)
    assert cleared.list_workspaces()["count"] == 0
