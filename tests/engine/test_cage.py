"""The cage, looked at from the inside by a small program, and from the outside."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from pyro_mcp.engine.cage import NOBODY, Bind, CageLimits, caged
from pyro_mcp.engine.qemu.qemu_cage import qemu_limits
from pyro_mcp.engine.qemu.system_calls import qemu_filter
from pyro_mcp.host.user_ids import machine_ids

SOURCES = Path(__file__).parent
BUILD = SOURCES.parents[1] / "cage" / "build"
DEADLINE = 20.0
ORDINARY = 12345
LIMITS = qemu_limits(64, file_bytes=1_000_000, lifetime=60.0)
Facts = dict[str, str]

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc, which compiles the probes, is not installed")


def compiled(source: str, target: Path, *flags: str) -> Path:
    subprocess.run(["gcc", "-O2", *flags, "-o", target, SOURCES / source], check=True, timeout=60)
    return target


def by(user: int, make_argv: Callable[[], list[str]]) -> list[str]:
    """What `make_argv` returns in a process of `user`."""
    if user == os.getuid():
        return make_argv()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
            os.write(writer, json.dumps(make_argv()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as answer:
        words: list[str] = json.loads(answer.read())
    os.waitpid(child, 0)
    return words


def identity(user: int) -> dict[str, int | list[int]]:
    """How `subprocess` starts a process of `user`."""
    return {} if user == os.getuid() else {"user": user, "group": user, "extra_groups": []}


def machine_user() -> int | None:
    """The user of the machine of this test's home."""
    ids = machine_ids(Path(os.environ["HOME"]))
    return ids.machine if ids else None


@contextmanager
def started(
    user: int, argv: Sequence[str], binds: Sequence[Bind], limits: CageLimits = LIMITS
) -> Iterator[tuple[int, Facts]]:
    """The probe in the cage of `user`: its number out here, and what it tells."""
    words = by(
        user, lambda: caged(argv, binds, limits, call_filter=qemu_filter(kvm=False), user=machine_user(), kvm=False)
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(words, **pipes, **identity(user), text=True, env={"SECRET": "x"}) as process:  # type: ignore[call-overload]
        facts: Facts = {}
        while (line := process.stdout.readline()) and line != "end=\n":
            name, _, value = line.rstrip("\n").partition("=")
            facts[name] = value
        yield youngest(process.pid), facts
        process.communicate(timeout=DEADLINE)
    assert process.returncode == 0


def youngest(pid: int) -> int:
    """The last in the line of descendants: timeout, bubblewrap, its first process, the program."""
    while children := Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        pid = int(children[0])
    return pid


@pytest.fixture(params=["us", "an ordinary user"])
def user(request: pytest.FixtureRequest) -> int:
    if request.param == "us":
        return os.getuid()
    if os.getuid() != 0:
        pytest.skip("only root can become somebody else")
    return ORDINARY


@pytest.fixture
def probe(home: Path) -> list[str]:
    home.chmod(0o755)  # an ordinary user reads the probe there
    program = compiled("cage_probe.c", home / "probe", "-static")
    return [str(program), str(os.getpid())]


def test_the_program_has_no_capabilities_and_can_gain_none(user: int, probe: list[str]) -> None:
    with started(user, probe, []) as (pid, _):
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    capabilities = {name: int(value, 16) for name, value in status.items() if name.startswith("Cap")}
    assert capabilities == dict.fromkeys(("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), 0)
    assert status["NoNewPrivs"].strip() == "1"


def test_the_program_is_a_user_of_its_own_in_no_group(user: int, probe: list[str]) -> None:
    with started(user, probe, []) as (pid, facts):
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    inside, outside = (machine_user(), machine_user()) if user == 0 else (NOBODY, user)
    assert facts["ids"] == f"{inside} {inside} {inside}"
    assert status["Uid"].split() == status["Gid"].split() == [str(outside)] * 4
    assert status["Groups"].split() == []


def test_the_program_shares_no_namespace_with_us(user: int, probe: list[str]) -> None:
    with started(user, probe, []) as (pid, facts):
        kinds = ["cgroup", "ipc", "mnt", "net", "pid", "uts"] + ([] if user == 0 else ["user"])
        shared = [
            kind for kind in kinds if os.readlink(f"/proc/{pid}/ns/{kind}") == os.readlink(f"/proc/self/ns/{kind}")
        ]
        cards = Path(f"/proc/{pid}/net/dev").read_text().splitlines()[2:]
    assert shared == []
    assert facts["signal"] == "ESRCH"
    assert facts["host"] == "cage", "it does not learn the host's name"
    assert [line.split(":")[0].strip() for line in cards] == ["lo"]


def test_the_program_sees_nothing_but_its_files(user: int, probe: list[str], home: Path) -> None:
    (home / "disk").touch()
    hidden = [
        "/etc/passwd",
        "/proc/self/status",
        "/root",
        "/home",
        "/sys",
        "/var",
        "/run",
        str(home / "disk"),
        "/dev/sda",
    ]
    with started(user, [*probe, *hidden, "/disks/one"], [Bind(home / "disk", "/disks/one")]) as (pid, facts):
        assert {facts[f"read {path}"] for path in hidden} == {"ENOENT"}
        assert facts["read /disks/one"] == "ok"
        roots = {path.name for path in Path(f"/proc/{pid}/root").iterdir()}
        devices = {path.name for path in Path(f"/proc/{pid}/root/dev").iterdir()}
    assert roots <= {"confine", "dev", "disks", "etc", "lib", "lib64", "usr", home.parts[1]}
    assert devices == {"null", "urandom"}


def test_only_a_writable_bind_can_be_written(user: int, probe: list[str], home: Path) -> None:
    for name in ("read-only", "writable"):
        (home / name).touch()
        (home / name).chmod(0o666)
    binds = [Bind(home / "read-only", "/read-only"), Bind(home / "writable", "/writable", writable=True)]
    program = probe[0]
    with started(user, [*probe, "/read-only", "/writable", program, "/etc/ld.so.cache"], binds) as (_, facts):
        pass
    assert (facts["write /read-only"], facts["write /writable"]) == ("EROFS", "ok")
    assert {facts[f"write {program}"], facts["write /etc/ld.so.cache"]} <= {"EROFS", "EACCES"}


def test_memory_files_and_descriptors_are_limited(user: int, probe: list[str]) -> None:
    with started(user, probe, []) as (_, facts):
        pass
    limits = {name.removeprefix("limit "): int(value) for name, value in facts.items() if name.startswith("limit ")}
    assert limits == {
        "memory": (64 + 3072) << 20,
        "file": 1_000_000,
        "core": 1,
        "descriptors": 1024,
        "locked": 65536,
        "threads": 192,
    }


def test_nothing_of_our_environment_is_seen(user: int, probe: list[str]) -> None:
    with started(user, probe, []) as (_, facts):
        pass
    assert {name: value for name, value in facts.items() if name.startswith("variable ")} == {"variable PWD": "/"}


def test_the_lifetime_ends_whatever_runs(user: int, probe: list[str]) -> None:
    limits = qemu_limits(64, file_bytes=1, lifetime=0.3)
    words = by(
        user, lambda: caged(probe, [], limits, call_filter=qemu_filter(kvm=False), user=machine_user(), kvm=False)
    )
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **identity(user)) as process:  # type: ignore[call-overload]
        assert process.stdout.read().endswith(b"end=\n")  # ends only when the probe does
        assert process.wait(DEADLINE) == -9


@pytest.mark.parametrize("fortify", [0, 2])
def test_memory_opens_read_only_although_it_is_asked_for_writable(home: Path, fortify: int) -> None:
    shared = home / "readonly-ram.so"
    subprocess.run([BUILD, "readonly-ram", shared], check=True, timeout=60)
    program = compiled("ram_probe.c", home / "probe", "-U_FORTIFY_SOURCE", f"-D_FORTIFY_SOURCE={fortify}")
    for name in ("ram", "other"):
        (home / name).write_bytes(bytes(4096))
        (home / name).chmod(0o666)
    binds = [
        Bind(home / "ram", "/ram", writable=True),
        Bind(home / "other", "/other", writable=True),
        Bind(shared, "/readonly-ram.so"),
    ]
    words = caged(
        [str(program), "/ram", "/other"],
        binds,
        LIMITS,
        call_filter=qemu_filter(kvm=False),
        user=machine_user(),
        kvm=False,
        preload="/readonly-ram.so",
    )
    printed = subprocess.run(words, check=True, timeout=DEADLINE, stdout=subprocess.PIPE, text=True).stdout
    assert printed.splitlines() == [
        "/ram open=ok",
        "/ram shared=EACCES",
        "/ram private=ok",
        "/ram write=EBADF",
        "/other open=ok",
        "/other shared=ok",
        "/other private=ok",
        "/other write=ok",
    ]
    assert (home / "ram").read_bytes() == bytes(4096)
    assert (home / "other").read_bytes().startswith(b"PWNED")


def test_memory_that_may_only_be_read_opens_all_the_same(home: Path) -> None:
    shared = home / "readonly-ram.so"
    subprocess.run([BUILD, "readonly-ram", shared], check=True, timeout=60)
    program = compiled("ram_probe.c", home / "probe")
    (home / "ram").write_bytes(bytes(4096))
    (home / "ram").chmod(0o444)
    binds = [Bind(home / "ram", "/ram"), Bind(shared, "/readonly-ram.so")]

    def answer(preload: str) -> str:
        words = caged(
            [str(program), "/ram"],
            binds,
            LIMITS,
            call_filter=qemu_filter(kvm=False),
            user=machine_user(),
            kvm=False,
            preload=preload,
        )
        printed = subprocess.run(words, check=True, timeout=DEADLINE, stdout=subprocess.PIPE, text=True).stdout
        return printed.splitlines()[0]

    assert answer("/readonly-ram.so") == "/ram open=ok"
    assert answer("") in {"/ram open=EROFS", "/ram open=EACCES"}
