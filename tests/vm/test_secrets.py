"""Secrets on real machines: what a command gets, what is shown of it, and where on the host a value is found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pyro_mcp import Pyro
from pyro_mcp.errors import PyroError
from tests.conftest import ROOT
from tests.network.tls_site import HOST
from tests.network.tls_site import VALUE as HOST_VALUE
from tests.vm import tls_proxy_story
from tests.vm.conftest import Create
from tests.vm.processes import home_of, kernel_below, memory_holds

VALUE = "ghp_w6q3XoT1rB/9=sN0zKd7+uYvE"
SECRETS = [{"name": "TOKEN", "value": VALUE}]

# Each prints $T in one way; nothing of it may be recognised.
DISGUISES = {
    "as it is": "echo $T",
    "to standard error": "echo $T >&2",
    "in the middle": "echo a${T}b",
    "in two writes": "printf %s ${T%${T#??????????}}; sleep 0.3; echo ${T#??????????}",
    "byte by byte": 'i=1; while [ $i -le ${#T} ]; do printf %s "$T" | cut -c$i | tr -d "\\n"; i=$((i+1)); done; echo',
    "in base64": "printf %s $T | base64",
    "in base64 of something longer, in lines": "for n in 1 2 3; do echo line $n $T; done | base64 -w 20",
    "in a basic authorization": "printf user:%s $T | base64 -w 0",
    "in hex": "printf %s $T | od -An -tx1 -v | tr -d ' \\n'",
    "in a URL": 'python3 -c \'import os, urllib.parse as u; print(u.quote(os.environ["T"], safe=""))\'',
    "in JSON": "python3 -c 'import os, json; print(json.dumps(dict(os.environ)))'",
    "in the environment": "env",
    "traced": "set -x; test $T = x",
}
PARTS = [VALUE[place : place + 8] for place in range(len(VALUE) - 8)]


def cli(*words: str) -> str:
    """Run `pyro` as a user does, and return its output."""
    command = [sys.executable, "-m", "pyro_mcp.cli", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def holders(folder: Path, value: str = VALUE) -> list[str]:
    """Return the files below a folder that hold the value."""
    return [
        str(path.relative_to(folder))
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink() and _holds(path, value.encode())
    ]


def _holds(path: Path, value: bytes) -> bool:
    """Return whether a file has the value in its data; its holes are not read."""
    with open(path, "rb", buffering=0) as file:
        place = 0
        while True:
            try:
                place = os.lseek(file.fileno(), place, os.SEEK_DATA)
            except OSError:
                return False  # there is no more
            piece = os.pread(file.fileno(), (1 << 22) + len(value), place)
            if value in piece:
                return True
            place += 1 << 22


def test_a_secret_is_used_and_seen_nowhere_however_it_is_printed(pyro: Pyro, create: Create) -> None:
    id_ = create(secrets=SECRETS)
    checked = pyro.exec_workspace(id_, command=f"test \"$T\" = '{VALUE}'", secret_env={"TOKEN": "T"})
    assert checked["exit_code"] == 0
    assert pyro.exec_workspace(id_, command='test -z "$T$TOKEN"')["exit_code"] == 0
    for how, command in DISGUISES.items():
        live: list[bytes] = []
        done = pyro.exec_workspace(
            id_, command=command, secret_env={"TOKEN": "T"}, on_stdout=live.append, on_stderr=live.append
        )
        told = done["stdout"] + done["stderr"] + b"".join(live).decode()
        assert "[secret TOKEN]" in told, (how, told)
        assert not any(part in told for part in PARTS), (how, told)
    everything = json.dumps(
        [pyro.logs_workspace(id_), pyro.summarize_workspace(id_), pyro.status_workspace(id_), pyro.list_workspaces()]
    )
    assert VALUE not in everything and len(pyro.logs_workspace(id_)["entries"]) == len(DISGUISES) + 2


def test_a_secret_that_the_guest_wrote_to_a_file_is_masked_where_the_file_is_shown(pyro: Pyro, create: Create) -> None:
    id_ = create(secrets=SECRETS)
    done = pyro.exec_workspace(id_, command="echo key=$T > note; touch $(basename $T)", secret_env={"TOKEN": "T"})
    assert done["exit_code"] == 0
    assert pyro.read_workspace_file(id_, "note")["content"] == "key=[secret TOKEN]\n"
    found = pyro.diff_workspace(id_)
    assert "+key=[secret TOKEN]" in found["patch"] and not found["patch_complete"]
    assert VALUE not in json.dumps(found)
    pyro.stop_workspace(id_)
    assert pyro.read_workspace_disk(id_, "/workspace/note")["content"] == "key=[secret TOKEN]\n"


def test_a_value_is_on_the_host_in_one_file_alone(pyro: Pyro, create: Create, home: Path) -> None:
    (home / "token").write_text(VALUE)
    before = holders(home)
    other = create()
    id_ = cli("workspace", "create", "debian:12", "--secret-file", f"TOKEN={home}/token", "--id-only").strip()
    words = ["exec", id_, "--secret-env", "TOKEN=T", "--timeout-seconds", "20", "--", "sh", "-c"]
    seen: list[str] = []

    def use() -> None:
        seen.append(cli("workspace", *words, "echo $T; touch ready; while [ ! -e go ]; do sleep 0.1; done"))

    using = threading.Thread(target=use)
    using.start()
    assert pyro.exec_workspace(id_, command="while [ ! -e ready ]; do sleep 0.1; done")["exit_code"] == 0
    words_of_all = b"".join(_read(Path(entry.path, "cmdline")) for entry in os.scandir("/proc") if entry.name.isdigit())
    assert VALUE.encode() not in words_of_all
    assert not memory_holds(kernel_below(home_of(other)), VALUE.encode())
    assert memory_holds(kernel_below(home_of(id_)), VALUE.encode())  # so it would be seen there too
    pyro.write_workspace_file(id_, "go", text="")
    using.join(30)
    assert seen == ["[secret TOKEN]\n"]
    pyro.create_snapshot(id_, "one")
    twin = pyro.fork_workspace(id_)["workspace_id"]
    assert not memory_holds(kernel_below(home_of(twin)), VALUE.encode())
    assert pyro.exec_workspace(twin, command=["sh", "-c", "echo $T"], secret_env={"TOKEN": "T"})["stdout"] == seen[0]
    pyro.export_workspace(id_, ".", output_path=home / "exported")
    pyro.stop_workspace(id_)
    pyro.export_workspace_disk(id_, output_path=home / "disk.ext4")
    machines = "state/pyro-mcp/machines"
    assert sorted(set(holders(home)) - set(before)) == sorted(f"{machines}/{one}/secrets/TOKEN" for one in (id_, twin))
    for told in (
        cli("workspace", "logs", id_, "--json"),
        cli("workspace", "summary", id_, "--json"),
        cli("workspace", "status", id_, "--json"),
        cli("workspace", "status", id_),
    ):
        assert id_ in told and VALUE not in told
    for one in (id_, twin):
        pyro.delete_workspace(one)
    assert holders(home) == before


def test_no_template_holds_a_value(create: Create, pyro: Pyro, warm_cache: Path) -> None:
    pyro.exec_workspace(create(secrets=SECRETS), command="echo $T", secret_env={"TOKEN": "T"})
    assert holders(warm_cache / "templates") == []


def test_secrets_stay_through_everything_that_a_workspace_goes_through(pyro: Pyro, create: Create) -> None:
    id_ = create(secrets=[*SECRETS, {"name": "KEY", "value": "line one\nline two\n"}])

    told = [{"name": "TOKEN", "source_kind": "literal"}, {"name": "KEY", "source_kind": "literal"}]
    check = ["sh", "-c", f"test \"$T\" = '{VALUE}' && test \"$KEY\" = 'line one\nline two\n'"]
    for change in (pyro.reset_workspace, pyro.stop_workspace, pyro.start_workspace, pyro.status_workspace):
        assert change(id_)["secrets"] == told
    done = pyro.exec_workspace(id_, command=check, secret_env={"TOKEN": "T", "KEY": "KEY"})
    assert done["exit_code"] == 0


def test_an_error_of_the_guest_holds_no_secret_value(pyro: Pyro, create: Create) -> None:
    id_ = create(secrets=SECRETS)
    with pytest.raises(PyroError) as caught:
        pyro.exec_workspace(id_, command=["true"], cwd=f"/{VALUE}")
    assert VALUE not in str(caught.value) and "[secret TOKEN]" in str(caught.value)
    missing = pyro.exec_workspace(id_, command=[f"/{VALUE}/x"])
    assert missing["exit_code"] == 127 and VALUE not in json.dumps(missing)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes a network in which a private address is somebody else's")
def test_a_secret_for_a_host_never_enters_the_guest(home: Path, warm_cache: Path) -> None:
    (home / "hosts").write_text(f"127.0.0.1 localhost\n{tls_proxy_story.ADDRESS} {HOST}\n")
    (home / "story").mkdir()
    address = f"ip link set lo up && ip addr add {tls_proxy_story.ADDRESS}/32 dev lo"
    script = f'{address} && mount --bind "$0" /etc/hosts && exec "$@"'
    command = ["unshare", "--mount", "--net", "sh", "-c", script, str(home / "hosts")]
    command += [sys.executable, "-m", "tests.vm.tls_proxy_story", str(home / "story")]
    environ = {**os.environ, "XDG_CACHE_HOME": str(warm_cache.parent)}
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=280, env=environ, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    placeholder = told["placeholder"]
    assert told["secrets"] == [{"name": "API", "source_kind": "literal", "host": HOST, "header": "Authorization"}]
    answers = [told["after_reset"], told["after_start"], told["in_a_fork"]]
    answers += [told["programs"][name] for name in ("python", "python without variables", "curl")]
    for answer in answers:
        assert answer["seen"] == [f"Bearer {HOST_VALUE}"], answer
        assert json.loads(answer["stdout"])["headers"]["Authorization"] == f"Bearer {placeholder}"
    for name in ("git", "git without variables"):
        assert told["programs"][name]["stdout"].endswith("\trefs/heads/main\n"), told["programs"][name]
    assert told["guest_holds"] == [True, False] and not told["command_lines_hold_it"]
    assert told["times_in_the_system_list"].splitlines()[1] == "1"
    assert all(code != 0 for code, _ in told["without_the_hosts_ca"].values()), told["without_the_hosts_ca"]
    for name, (code, said) in told["with_the_hosts_ca"].items():
        assert code == 0 and json.loads(said)["headers"]["Authorization"] == "Bearer plain", name
    assert told["false_host"]["exit_code"] == 1 and told["false_host"]["seen"] == []
    assert "HTTP Error 502" in told["false_host"]["stderr"]
    assert told["network_log"][-1]["name"] == HOST
    assert HOST_VALUE not in done.stdout.replace(f'"seen": ["Bearer {HOST_VALUE}"]', "")
    assert holders(home / "state", HOST_VALUE) == []


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""  # it has ended meanwhile
