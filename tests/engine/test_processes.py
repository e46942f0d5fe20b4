"""Starting and ending a machine's processes, with harmless ones in their place."""

from __future__ import annotations

import os
import select
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyro_mcp.engine.lifetime import GUARD, MOVING_DEADLINE, set_lifetime
from pyro_mcp.engine.processes import (
    find_processes,
    kill,
    kill_found,
    launch,
    listening,
    machines_below,
    wait_for_end,
)
from pyro_mcp.engine.sockets import MachineSockets, dial
from pyro_mcp.host.process_identity import Identity, alive, identify
from tests.waiting import until

DEADLINE = 20.0


@pytest.fixture
def sockets(home: Path) -> MachineSockets:
    return MachineSockets(home / "machine")


def start(sockets: MachineSockets, line: str, *arguments: str) -> Identity:
    """A "machine" that is a shell below `timeout`, as QEMU is."""
    argv = ["/usr/bin/timeout", "--signal=KILL", "60", "/bin/sh", "-c", line, "sh", *arguments]
    return launch(lambda _: argv, sockets, sockets.folder.with_name("log"))


@pytest.fixture
def machine(sockets: MachineSockets) -> Iterator[Identity]:
    """Three processes in one group, one of them deaf to all but KILL."""
    identity = start(sockets, "trap '' TERM HUP INT; sleep 50 & sleep 50 & wait")
    yield identity
    kill(identity, sockets)


def open_life(sockets: MachineSockets) -> socket.socket:
    """A connection that the kernel closes with the machine's last process."""
    witness = socket.socket(socket.AF_UNIX)
    witness.connect(str(sockets.life))
    return witness


def is_closed(witness: socket.socket) -> bool:
    return bool(select.select([witness], [], [], 0)[0])


def test_the_machine_holds_its_sockets_and_nobody_has_to_wait_for_them(sockets: MachineSockets) -> None:
    identity = start(sockets, "ls -l /proc/self/fd; sleep 50")
    try:
        for path in sockets.all:
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
        assert identify(identity.pid) == identity
    finally:
        kill(identity, sockets)


def test_the_command_gets_the_sockets_in_their_order(sockets: MachineSockets) -> None:
    with listening(sockets) as fds:
        names = [socket.socket(fileno=os.dup(fd)) for fd in fds]
        shown = [Path(name.getsockname()).name for name in names]
        for name in names:
            name.close()
    assert shown == [path.name for path in sockets.all]


def test_only_we_may_enter_the_sockets_folder(sockets: MachineSockets) -> None:
    with listening(sockets):
        assert sockets.folder.stat().st_mode & 0o777 == 0o700


def test_end_kills_the_whole_group_and_waits_for_it(sockets: MachineSockets, machine: Identity) -> None:
    with open_life(sockets) as witness:
        assert alive(machine)
        assert not is_closed(witness)
        kill(machine, sockets)
        assert is_closed(witness)
    assert not alive(machine)
    assert not sockets.folder.exists()


def test_end_twice_is_a_no_op(sockets: MachineSockets, machine: Identity) -> None:
    kill(machine, sockets)
    kill(machine, sockets)
    assert not alive(machine)


def test_end_leaves_no_zombie(sockets: MachineSockets, machine: Identity) -> None:
    kill(machine, sockets)
    assert not Path(f"/proc/{machine.pid}").exists()


def test_a_machine_that_ended_by_itself_is_seen_and_removed(sockets: MachineSockets) -> None:
    identity = start(sockets, "exit 3")
    assert wait_for_end(identity, sockets, deadline_seconds=DEADLINE)
    kill(identity, sockets)
    assert not sockets.folder.exists()


def test_a_machine_that_goes_on_has_not_ended(sockets: MachineSockets, machine: Identity) -> None:
    assert not wait_for_end(machine, sockets, deadline_seconds=0.05)


def test_a_recycled_number_is_not_the_machine_and_is_spared(sockets: MachineSockets, machine: Identity) -> None:
    earlier = Identity(machine.pid, machine.start_time - 1)
    assert not alive(earlier)
    with open_life(sockets):
        kill(earlier, MachineSockets(sockets.folder.with_name("another")))
    assert alive(machine)


@pytest.mark.parametrize("number", [0, -1, 4 * 1024 * 1024 + 1])
def test_what_is_no_process_is_not_alive_and_can_be_ended(sockets: MachineSockets, number: int) -> None:
    assert identify(number) is None
    kill(Identity(number, 0), sockets)


def test_ending_nothing_takes_no_child_of_ours(sockets: MachineSockets) -> None:
    with subprocess.Popen(["/bin/sh", "-c", "exit 7"]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        kill(Identity(0, 0), sockets)
        kill(Identity(child.pid, 1), sockets)
        assert child.wait(DEADLINE) == 7


def test_a_zombie_is_not_alive() -> None:
    with subprocess.Popen(["/bin/true"]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert Path(f"/proc/{child.pid}").exists()
        assert identify(child.pid) is None


def test_a_process_is_known_by_number_and_start_whatever_its_name(tmp_path: Path) -> None:
    odd = tmp_path / "a) Z 1 ("
    odd.symlink_to("/bin/sleep")
    with subprocess.Popen([odd, "50"]) as child:
        identity = identify(child.pid)
        child.kill()
    assert identity is not None
    assert identity.start_time > 0


def test_our_own_identity_is_alive() -> None:
    identity = identify(os.getpid())
    assert identity is not None
    assert alive(identity)


def test_processes_are_found_by_a_path_below_a_folder(sockets: MachineSockets, home: Path) -> None:
    identity = start(sockets, "sleep 50; true", f"{home}/machines/vm-1/disk")
    try:
        # Right after a start, the kernel may not have finished the exec that `launch` reports.
        until("the process is found", lambda: find_processes(f"{home}/machines/vm-1"), [identity].__eq__)
        assert find_processes(f"{home}/machines") == [identity]
        assert find_processes(f"{home}/machines/vm") == []
        assert find_processes(f"{home}/machines/vm-1/disk") == []
    finally:
        kill(identity, sockets)
    assert find_processes(f"{home}/machines/vm-1") == []


def test_a_machine_that_began_as_a_spare_is_found_where_its_sockets_are(home: Path) -> None:
    spare, machine = home / "spares/sp-1", home / "machines/vm-1"
    spare.mkdir(parents=True)
    machine.mkdir(parents=True)
    set_lifetime(spare, 60)
    guard = [str(GUARD), "--signal=KILL", str(MOVING_DEADLINE), "/bin/sh", "-c", "sleep 50; true", f"{spare}/live"]
    identity = launch(lambda _: guard, MachineSockets(spare / "sockets"), home / "log")
    moved = MachineSockets(machine / "sockets")
    try:
        until("it is found", lambda: machines_below(f"{home}/spares"), {"sp-1": identity}.__eq__)
        set_lifetime(machine, 60)
        (spare / "sockets").rename(moved.folder)
        assert machines_below(f"{home}/spares") == {}
        assert machines_below(f"{home}/machines") == {"vm-1": identity}
        kill_found(str(spare), MachineSockets(spare / "sockets"))
        assert alive(identity)
        kill_found(str(machine), moved)
        assert not alive(identity)
    finally:
        kill(identity, moved)


def test_a_spare_whose_folder_is_gone_ends(home: Path) -> None:
    spare = home / "sp-1"
    spare.mkdir()
    set_lifetime(spare, 60)
    sockets = MachineSockets(spare / "sockets")
    guard = [str(GUARD), "--signal=KILL", str(MOVING_DEADLINE), "/bin/sleep", "50"]
    identity = launch(lambda _: guard, sockets, home / "log")
    try:
        until("its processes work", lambda: machines_below(str(home)), bool)
        with socket.socket(socket.AF_UNIX) as witness:
            witness.connect(str(sockets.life))
            shutil.rmtree(spare)
            assert select.select([witness], [], [], DEADLINE)[0], "it runs on"
        until("it has ended", lambda: alive(identity), lambda found: not found)
    finally:
        kill(identity, sockets)


def test_a_machine_that_is_only_about_to_be_one_is_found_and_ended_too(sockets: MachineSockets, home: Path) -> None:
    becoming = ["/bin/sh", "-c", 'sleep 0.5; exec timeout --signal=KILL 60 sh -c "sleep 50; true" sh "$0"']
    identity = launch(lambda _: [*becoming, f"{home}/vm-1/disk"], sockets, sockets.folder.with_name("log"))
    kill_found(f"{home}/vm-1", sockets)
    assert not alive(identity)


def test_where_no_machine_was_started_none_is_ended(sockets: MachineSockets, home: Path) -> None:
    kill_found(f"{home}/vm-1", sockets)


def test_other_programs_that_name_the_folder_are_not_machines(home: Path) -> None:
    with subprocess.Popen(["/bin/sh", "-c", "read never", "sh", f"{home}/x"], stdin=subprocess.PIPE) as editor:
        assert find_processes(str(home)) == []
        editor.kill()


def test_what_the_processes_print_is_in_the_log(sockets: MachineSockets, home: Path) -> None:
    identity = start(sockets, "echo out; echo err >&2")
    assert wait_for_end(identity, sockets, deadline_seconds=DEADLINE)
    kill(identity, sockets)
    assert (home / "log").read_text() == "out\nerr\n"


def test_a_machine_outlives_the_process_that_started_it(sockets: MachineSockets, home: Path) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from pyro_mcp.engine.processes import launch; from pyro_mcp.engine.sockets import MachineSockets as Sockets\n"
        "sockets = Sockets(Path(sys.argv[1]))\n"
        "identity = launch("
        "lambda _: ['/usr/bin/timeout', '--signal=KILL', '60', '/bin/sleep', '50'], sockets, Path(sys.argv[2]))\n"
        "print(identity.pid, identity.start_time)"
    )
    argv: list[str | Path] = [sys.executable, "-c", script, sockets.folder, home / "log"]
    printed = subprocess.run(argv, check=True, timeout=DEADLINE, stdout=subprocess.PIPE).stdout.split()
    identity = Identity(int(printed[0]), int(printed[1]))
    assert alive(identity)
    kill(identity, sockets)
    assert not alive(identity)


def test_sockets_may_lie_deeper_than_a_sockets_path_is_long(home: Path) -> None:
    (home / ("x" * 200)).mkdir()
    sockets = MachineSockets(home / ("x" * 200) / ("y" * 200))
    with listening(sockets) as fds, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        assert len(fds) == len(sockets.all)
        dial(client, sockets.monitor, DEADLINE)
