"""Programs that ask much of the guest's kernel: they work as on any Linux, or a limit stops them and nothing else."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pyro_mcp.engine.interface import Shape
from tests.vm.running_vm import Vm

_SOURCE = Path(__file__).with_name("demanding.c")
_FLAGS = ("-std=gnu11", "-O2", "-static", "-pthread", "-Wall", "-Wextra", "-Wno-psabi", "-Werror")


@pytest.fixture(scope="session")
def demanding(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The program of demanding.c."""
    program = tmp_path_factory.mktemp("demanding") / "demanding"
    subprocess.run(["cc", *_FLAGS, "-o", program, _SOURCE], check=True, timeout=60)
    return program.read_bytes()


@pytest.fixture
def task(vm: Vm, demanding: bytes) -> Callable[..., str]:
    """A function that runs one task of demanding.c in a machine, and returns the line that it prints."""
    vm.sh("cat >/tmp/demanding; chmod 755 /tmp/demanding", stdin=demanding)

    def task(*words: str) -> str:
        return vm.sh(f"/tmp/demanding {' '.join(words)}", timeout_seconds=150).strip()

    return task


@pytest.mark.parametrize(
    ("words", "answers"),
    [
        (("threads", "200"), {"40000"}),
        (("vectors", "8"), {"avx2", "sse"}),
        (("ptrace",), {"20 steps, 10 stops at getppid"}),
        (("io_uring",), {"works", "none"}),
        (("forks",), {"bounded"}),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_a_demanding_program_works(task: Callable[..., str], words: tuple[str, ...], answers: set[str]) -> None:
    assert task(*words) in answers


def test_memory_that_is_touched_in_a_random_order_keeps_its_content(task: Callable[..., str], vm: Vm) -> None:
    # On `uml` each page is a mapping of the host, which gives a process 65,530 (vm.max_map_count).
    assert task("touch", "300") == "76800 pages"
    assert vm.sh("echo alive") == "alive\n"


def test_four_fifths_of_the_memory_can_be_used(vm: Vm) -> None:
    fill = "held = bytearray(b'x') * (800 << 20); print(len(held) >> 20)"

    assert vm.sh(f'python3 -c "{fill}"', timeout_seconds=60) == "800\n"


def test_a_machine_outlives_programs_that_want_all_of_its_memory(start: Callable[..., Vm]) -> None:
    vm = start(shape=Shape(mem_mib=256, vcpu_count=2))
    fill = "held = []\nwhile True: held.append(bytearray(b'x') * (1 << 20))"

    for _ in range(3):
        assert vm.run("python3", "-c", fill, timeout_seconds=60).exit_code == 128 + signal.SIGKILL
    assert vm.sh("dmesg | grep -c 'Out of memory'").strip() == "3"


def test_hundreds_of_processes_run_at_once(vm: Vm) -> None:
    script = """
        mkfifo hold
        for number in $(seq 300); do sh -c 'read line <hold; exit 0' & done
        until [ $(ls -d /proc/[0-9]* | wc -l) -gt 300 ]; do sleep 0.1; done
        exec 3<>hold
        yes 2>/dev/null | head -300 >&3
        wait
        echo all ended
    """
    assert vm.sh(script, timeout_seconds=90) == "all ended\n"


PROGRAMS = {
    "signals and timers": """
import ctypes, os, signal, struct, time
seen = []
signal.signal(signal.SIGALRM, lambda *_: seen.append("alarm"))
signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
while len(seen) < 5: signal.pause()
signal.setitimer(signal.ITIMER_REAL, 0)
signal.signal(signal.SIGPROF, lambda *_: seen.append("prof"))
signal.setitimer(signal.ITIMER_PROF, 0.05)
while "prof" not in seen: sum(range(1000))
libc = ctypes.CDLL(None, use_errno=True)
timer = libc.timerfd_create(time.CLOCK_MONOTONIC, 0)
assert libc.timerfd_settime(timer, 0, struct.pack("4q", 0, 10_000_000, 0, 10_000_000), None) == 0
assert sum(struct.unpack("Q", os.read(timer, 8))[0] for _ in range(3)) >= 3
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGRTMIN])
for number in (signal.SIGRTMIN, signal.SIGUSR1, signal.SIGRTMIN): os.kill(os.getpid(), number)
told = [signal.sigwaitinfo([signal.SIGUSR1, signal.SIGRTMIN]).si_signo for _ in range(3)]
assert sorted(told) == [signal.SIGUSR1, signal.SIGRTMIN, signal.SIGRTMIN], told
started = time.monotonic(); time.sleep(0.2); assert 0.2 <= time.monotonic() - started < 30
""",
    "files that are mapped": """
import mmap, os
with open("mapped", "w+b") as file:
    file.truncate(64 << 20)
    with mmap.mmap(file.fileno(), 0) as shared:
        for at in range(0, len(shared), 65536): shared[at:at + 8] = at.to_bytes(8, "big")
        if os.fork() == 0:
            shared[3] = 77
            os._exit(0)
        os.wait()
        assert shared[3] == 77
        shared.flush()
    for at in range(65536, 64 << 20, 65536):
        file.seek(at)
        assert file.read(8) == at.to_bytes(8, "big")
    private = mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE)
    private[0:4] = b"mine"
    assert os.pread(file.fileno(), 4, 0) != b"mine"
""",
    "sockets, watches and terminals": """
import array, ctypes, os, pty, select, socket, struct
one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
reader, writer = os.pipe()
socket.send_fds(one, [b"x"], [writer])
(got,) = socket.recv_fds(other, 1, 1)[1]
os.write(got, b"over")
assert os.read(reader, 4) == b"over"
listener = socket.socket(socket.AF_UNIX); listener.bind("socket"); listener.listen()
client = socket.socket(socket.AF_UNIX); client.connect("socket")
served, _ = listener.accept()
credentials = struct.unpack("3i", served.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
assert credentials[0] == os.getpid()
abstract = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); abstract.bind("\\0name")
libc = ctypes.CDLL(None)
watch = libc.inotify_init1(0)
assert libc.inotify_add_watch(watch, b".", 0x100 | 0x200) >= 0
open("appeared", "w").close(); os.unlink("appeared")
events = os.read(watch, 4096)
assert events.count(b"appeared") == 2
pid, terminal = pty.fork()
if pid == 0: os.execlp("sh", "sh", "-c", "stty size; tty; read line; echo got $line")
os.write(terminal, b"typed\\n")
text = b""
while b"got typed" not in text: text += os.read(terminal, 1000)
assert b"/dev/pts/" in text and os.waitpid(pid, 0)[1] == 0
""",
    "processes": """
import multiprocessing, os, signal, subprocess
assert os.posix_spawn("/bin/true", ["true"], os.environ) > 0 and os.wait()[1] == 0
assert subprocess.run(["sh", "-c", "kill -SEGV $$"]).returncode == -signal.SIGSEGV
assert subprocess.run(["python3", "-c", "import ctypes; ctypes.string_at(0)"]).returncode == -signal.SIGSEGV
def work(number): return sum(at * at for at in range(number))
with multiprocessing.Pool(8) as pool:
    assert pool.map(work, range(2000, 2400)) == [work(number) for number in range(2000, 2400)]
stopped = subprocess.Popen(["sleep", "600"])
stopped.send_signal(signal.SIGSTOP)
assert os.WIFSTOPPED(os.waitpid(stopped.pid, os.WUNTRACED)[1])
stopped.send_signal(signal.SIGCONT)
assert os.WIFCONTINUED(os.waitpid(stopped.pid, os.WCONTINUED)[1])
stopped.kill()
assert stopped.wait() == -signal.SIGKILL
""",
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_kernel_does_what_python_programs_expect(vm: Vm, name: str) -> None:
    assert vm.sh("cat >program.py; python3 -X faulthandler program.py && echo passed", stdin=PROGRAMS[name].encode(),
                 timeout_seconds=60) == "passed\n"  # fmt: skip


def test_big_files_are_written_synced_and_read_back(vm: Vm) -> None:
    script = """
        head -c 200M /dev/urandom >big
        sum=$(sha256sum <big)
        sync
        echo 3 >/proc/sys/vm/drop_caches
        [ "$(sha256sum <big)" = "$sum" ]
        truncate -s 6G sparse
        printf end | dd of=sparse bs=1 seek=6000000000 conv=notrunc status=none
        sync sparse
        echo 3 >/proc/sys/vm/drop_caches
        tail -c +6000000001 sparse | head -c 3
        [ $(du -k sparse | cut -f 1) -lt 1000 ]
    """
    assert vm.sh(script, timeout_seconds=120) == "end"
