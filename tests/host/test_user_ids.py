"""User ids of their own: claimed by a home, kept while it exists, given away again only when nothing has them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from pyro_mcp.errors import HostNotReady
from pyro_mcp.host import user_ids as module
from pyro_mcp.host.user_ids import machine_ids, move_ids, release_ids, usable_range

# Few of them, in the range of systemd's services that come and go.
FEW = range(65508, 65520)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root's machines have ids of their own")


@pytest.fixture
def few(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A registry with room for three machines."""
    (home / "subuid").write_text(f"someone:100000:65536\npyro-mcp:{FEW.start}:{len(FEW)}\n")
    monkeypatch.setattr(module, "SUBORDINATE_IDS", home / "subuid")
    monkeypatch.setattr(module, "REGISTRY", home / "registry")
    return home


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def claimed(home: Path) -> int:
    ids = machine_ids(home)
    assert ids is not None
    assert len({ids.machine, ids.relay, ids.policy}) == 3
    return ids.machine


def test_a_home_keeps_its_ids_and_shares_them_with_none(few: Path) -> None:
    homes = [made(few / str(number)) for number in range(3)]
    first = [claimed(home) for home in homes]
    assert [claimed(home) for home in homes] == first
    assert len(set(first)) == 3
    assert all(id_ in FEW and id_ + 3 in FEW for id_ in first)


def test_when_all_are_claimed_the_error_names_the_file_to_change(few: Path) -> None:
    for number in range(3):
        claimed(made(few / str(number)))
    with pytest.raises(HostNotReady) as raised:
        machine_ids(made(few / "one too many"))
    assert "subuid" in raised.value.hint


def test_the_ids_of_a_home_that_is_gone_are_given_away_again(few: Path) -> None:
    homes = [made(few / str(number)) for number in range(3)]
    first = [claimed(home) for home in homes]
    shutil.rmtree(homes[1])
    assert claimed(made(few / "next")) == first[1]


def test_ids_that_a_process_still_has_are_not_given_away(few: Path) -> None:
    homes = [made(few / str(number)) for number in range(3)]
    inner = claimed(homes[1]) + 1
    for home in homes[:1] + homes[2:]:
        claimed(home)
    with subprocess.Popen(["/bin/sleep", "50"], user=inner, group=inner, extra_groups=[]) as left:
        shutil.rmtree(homes[1])
        with pytest.raises(HostNotReady):
            machine_ids(made(few / "next"))
        left.kill()
    assert claimed(few / "next") == inner - 1


def test_ids_are_given_back_at_once_when_asked(few: Path) -> None:
    home = made(few / "one")
    claimed(home)
    release_ids(home)
    assert list(home.iterdir()) == []
    assert [path for path in (few / "registry").iterdir() if path.is_symlink()] == []


def test_a_home_that_was_moved_or_copied_gets_ids_of_its_own(few: Path) -> None:
    home = made(few / "one")
    first = claimed(home)
    shutil.copytree(home, few / "copy")
    assert claimed(few / "copy") != first
    home.rename(few / "moved")
    made(few / "one")
    assert claimed(few / "one") != claimed(few / "moved")


def test_a_home_with_a_false_note_gets_ids_of_its_own(few: Path) -> None:
    first = claimed(made(few / "one"))
    other = made(few / "other")
    for note in (str(first), "0", "-1", "65534", "x", ""):
        (other / ".ids").write_text(note)
        assert claimed(other) not in {first, 0, -1, 65534}


def test_by_default_ids_are_those_that_linux_gives_to_nobody(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setattr(module, "SUBORDINATE_IDS", home / "none")
    assert usable_range() in (range(0x70000000, 0x70010000), range(61184, 65520))


def test_where_the_configured_ids_do_not_exist_the_error_says_so(few: Path) -> None:
    (few / "subuid").write_text(f"pyro-mcp:{2**32 - 3}:8\n")
    with pytest.raises(HostNotReady, match="ids 4294967293"):
        usable_range()


def test_ids_move_to_another_home_which_gives_up_its_own(few: Path) -> None:
    spare, home = made(few / "spare"), made(few / "home")
    moved, own = claimed(spare), claimed(home)
    move_ids(spare, home)
    assert claimed(home) == moved
    assert not (spare / ".ids").exists()
    assert own in {claimed(made(few / "second")), claimed(made(few / "third"))}


def test_ids_that_have_moved_are_not_released_with_their_former_home(few: Path) -> None:
    spare, home = made(few / "spare"), made(few / "home")
    moved = claimed(spare)
    move_ids(spare, home)
    release_ids(spare)
    shutil.rmtree(spare)
    assert moved not in {claimed(made(few / "second")), claimed(made(few / "third"))}


def test_a_home_without_ids_gives_none_away(few: Path) -> None:
    spare, home = made(few / "spare"), made(few / "home")
    own = claimed(home)
    move_ids(spare, home)
    assert claimed(home) == own
