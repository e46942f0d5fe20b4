#!/usr/bin/env python3
"""A stand-in for `smolvm` with the machine commands that the backend uses, for a host without KVM.

A machine is a folder below $HOME/.smolvm-stand-in and a process in namespaces of its own. What it keeps of the real
one, as its sources say: names and options; a machine must run to be used; `cp` copies one file and splits at the first
colon; `exec` passes the exit code on, and input only with `-i`; the machine's process lives on in the network
namespace of the command that started it, where its connections are made; its own failures are `Error: …` and exit
code 1.

What it does not have: a kernel of its own, so its guests are no hostile ones, and images.
"""

# ruff: noqa: T201 - a command line
from __future__ import annotations

import argparse
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

HOME = Path(os.environ["HOME"], ".smolvm-stand-in")
CREATED, RUNNING, STOPPED = "created", "running", "stopped"
DIRECTORIES = ("root", "tmp", "etc", "workspace", "var", "home", "proc", "dev", "usr", "run")


def fail(message: str) -> NoReturn:
    print(f"Error: {message}", file=sys.stderr)
    sys.exit(1)


def record_of(name: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((HOME / name / "record.json").read_text())
    except FileNotFoundError:
        fail(f"machine '{name}' not found")
    if found["state"] == RUNNING and not Path(f"/proc/{found['pid']}/ns").exists():
        found["state"], found["pid"] = STOPPED, None
    return found


def store(record: dict[str, Any]) -> None:
    path = HOME / record["name"] / "record.json"
    path.with_suffix(".new").write_text(json.dumps(record))
    path.with_suffix(".new").rename(path)


def running(name: str) -> int:
    record = record_of(name)
    if record["state"] != RUNNING:
        fail(f"machine '{name}' is not running. Start it with: smolvm machine start --name {name}")
    return int(record["pid"])


def create(words: argparse.Namespace) -> None:
    if words.from_ and not os.path.isfile(words.from_):
        fail(f"create from .smolmachine: file not found: {words.from_}")
    if (HOME / words.name).exists():
        fail(f"machine '{words.name}' already exists")
    for name in DIRECTORIES:
        (HOME / words.name / "disk" / name).mkdir(parents=True)
    etc = HOME / words.name / "disk" / "etc"
    (etc / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (etc / "group").write_text("root:x:0:\n")
    (etc / "resolv.conf").write_text(f"nameserver {words.dns}\n" if words.dns else "")
    store({
        "name": words.name, "state": CREATED, "pid": None, "network": bool(words.net or words.dns),
        "cpus": words.cpus, "memory_mib": words.mem, "env": words.env, "image": words.image, "from": words.from_,
    })  # fmt: skip
    print(f"Created machine: {words.name}")


def start(words: argparse.Namespace) -> None:
    record = record_of(words.name)
    if record["state"] == RUNNING:
        return
    disk = HOME / words.name / "disk"
    argv = ["bwrap", "--bind", str(disk), "/", "--ro-bind", "/usr", "/usr", "--proc", "/proc", "--dev", "/dev"]
    for name in ("bin", "sbin", "lib", "lib64"):
        argv += ["--symlink", f"usr/{name}", f"/{name}"]
    argv += ["--unshare-pid", "--unshare-ipc", "--unshare-uts", *([] if record["network"] else ["--unshare-net"])]
    ours, theirs = os.pipe()
    boot = subprocess.Popen(
        [*argv, "--info-fd", str(theirs), "sleep", "infinity"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        pass_fds=[theirs], start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    with open(ours) as info:
        text = info.read()
    if not text:
        fail(f"start machine: the machine's process ended with {boot.wait(10)}")
    record["pid"], record["state"] = json.loads(text)["child-pid"], RUNNING
    store(record)
    print(f"Machine '{words.name}' running")


def inside(pid: int, words: argparse.Namespace) -> list[str]:
    variables = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "TERM=xterm"]
    enter = ["nsenter", "--target", str(pid), "--mount", "--pid", "--net", "--ipc", "--uts", "--root", "--wdns"]
    enter[-1] = f"--wdns={words.workdir or '/'}"
    return [*enter, "--", "env", "-i", *variables, *record_of(words.name)["env"], *words.env, *words.command]


def execute(words: argparse.Namespace) -> None:
    argv = inside(running(words.name), words)
    if words.tty:
        sys.exit(os.waitstatus_to_exitcode(pty.spawn(argv)))
    done = subprocess.run(argv, stdin=None if words.interactive else subprocess.DEVNULL, check=False)
    sys.exit(done.returncode if done.returncode >= 0 else 128 - done.returncode)


def copy(words: argparse.Namespace) -> None:
    name, colon, path = words.src.partition(":")
    if colon:
        source = subprocess.run(in_shell(name, 'cat -- "$1"', path), check=False, capture_output=True)
        if source.returncode != 0:
            fail(f"read file: {source.stderr.decode().strip()}")
        Path(words.dst).write_bytes(source.stdout)
        return
    name, colon, path = words.dst.partition(":")
    if not colon:
        fail("cp: one of SRC or DST must use machine:path syntax (e.g., myvm:/workspace/file)")
    running(name)
    try:
        content = Path(words.src).read_bytes()
    except OSError as error:
        fail(f"read local file: {words.src}: {error.strerror} (os error {error.errno})")
    script = 'cat > "$1.part" && mv -T "$1.part" "$1"'
    done = subprocess.run(in_shell(name, script, path), input=content, check=False, capture_output=True)
    if done.returncode != 0:
        fail(f"write file: {done.stderr.decode().strip()}")


def in_shell(name: str, script: str, path: str) -> list[str]:
    words = argparse.Namespace(name=name, workdir="", env=[], command=["sh", "-c", script, "sh", path])
    return inside(running(name), words)


def end(record: dict[str, Any]) -> None:
    if record["state"] == RUNNING:
        os.kill(record["pid"], signal.SIGKILL)
        deadline = time.monotonic() + 10
        while Path(f"/proc/{record['pid']}/ns/net").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        record["state"], record["pid"] = STOPPED, None
        store(record)


def stop(words: argparse.Namespace) -> None:
    end(record_of(words.name))


def remove(words: argparse.Namespace) -> None:
    if not words.force:
        fail("delete: not a terminal; use --force")
    end(record_of(words.name))
    shutil.rmtree(HOME / words.name)


def show(_: argparse.Namespace) -> None:
    names = sorted(path.name for path in HOME.iterdir()) if HOME.exists() else []
    print(json.dumps([record_of(name) for name in names]))


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser(prog="smolvm")
    machine = root.add_subparsers(required=True).add_parser("machine").add_subparsers(required=True)

    def verb(name: str, action: Any, **kwargs: Any) -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = machine.add_parser(name, allow_abbrev=False, **kwargs)
        made.set_defaults(action=action)
        return made

    making = verb("create", create)
    making.add_argument("--name", "-n", required=True)
    making.add_argument("--image", "-I")
    making.add_argument("--from", dest="from_")
    making.add_argument("--net", action="store_true")
    making.add_argument("--dns")
    making.add_argument("--cpus", type=int, default=4)
    making.add_argument("--mem", type=int, default=8192)
    making.add_argument("--env", "-e", action="append", default=[])
    running_ = verb("exec", execute)
    running_.add_argument("--name", required=True)
    running_.add_argument("--env", "-e", action="append", default=[])
    running_.add_argument("--workdir", "-w", default="")
    running_.add_argument("--interactive", "-i", action="store_true")
    running_.add_argument("--tty", "-t", action="store_true")
    running_.add_argument("command", nargs="+")
    copying = verb("cp", copy)
    copying.add_argument("src")
    copying.add_argument("dst")
    for name, action in (("start", start), ("stop", stop)):
        verb(name, action).add_argument("--name", "-n", required=True)
    removing = verb("delete", remove, aliases=["rm"])
    removing.add_argument("--name", "-n", required=True)
    removing.add_argument("--force", "-f", action="store_true")
    verb("ls", show, aliases=["list"]).add_argument("--json", action="store_true", required=True)
    return root


def main() -> None:
    HOME.mkdir(exist_ok=True)
    words = parser().parse_args()
    words.action(words)


if __name__ == "__main__":
    main()
