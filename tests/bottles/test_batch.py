"""Steps that are gathered for one round trip do the same in a guest as one after the other."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from claude_bottle.provision.batch import CARRY_OUT, FOLDER, Batch, gathering

_BELOW = FOLDER.lstrip("/")


def carried_out(batch: Batch, root: Path) -> subprocess.CompletedProcess[str]:
    """Unpack the archive of a batch below a folder, and carry out its steps there."""
    root.mkdir(parents=True, exist_ok=True)
    subprocess.run(["tar", "--extract", "--preserve-permissions", "-C", root], stdin=batch.archive(), check=True)
    steps = root / _BELOW
    assert steps.stat().st_mode & 0o777 == 0o700
    script = (steps / "all").read_text().replace(FOLDER, str(steps))
    (steps / "all").write_text(script)
    command = CARRY_OUT.replace(FOLDER, str(steps))
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, timeout=30, check=False)
    assert not steps.exists()
    return done


def test_steps_are_done_in_their_order(tmp_path: Path) -> None:
    skill, file = tmp_path / "skill", tmp_path / "one"
    (skill / "below").mkdir(parents=True)
    (skill / "below/link").symlink_to("/nowhere")
    (skill / "run").write_text("#!/bin/sh\n")
    (skill / "run").chmod(0o700)
    home = tmp_path / "root/it's home"
    join = ["/bin/sh", "-c", 'cat - "$1" >"$2"', "sh", f"{home}/deep/er/file", f"{home}/joined"]
    with gathering(str(home)) as batch:
        for content in ("older", "newer"):
            file.write_text(content)
            batch.copy_in(str(file), f"{home}/deep/er/file")
            file.unlink()
        batch.run(join, stdin=b"first \n'")
        batch.copy_in(str(skill), f"{home}/skills/one")
        batch.run(["rm", "-rf", f"{home}/skills/one/below"])
        batch.copy_in(str(skill), f"{home}/skills/two")
        done = carried_out(batch, tmp_path / "root")

    assert (done.returncode, done.stderr) == (0, "")
    assert (home / "joined").read_text() == "first \n'newer"
    assert sorted(os.listdir(home / "skills/one")) == ["run"]
    assert os.readlink(home / "skills/two/below/link") == "/nowhere"
    assert (home / "skills/two/run").stat().st_mode & 0o777 == 0o755
    assert (home / "deep/er/file").stat().st_mode & 0o777 == 0o644


def test_nothing_is_done_after_a_step_that_fails(tmp_path: Path) -> None:
    with gathering("/root") as batch:
        batch.run(["cat", "/there is none"])
        batch.run(["touch", str(tmp_path / "made")])
        done = carried_out(batch, tmp_path / "root")

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "(cat '/there is none')" and "No such file" in done.stderr
    assert not (tmp_path / "made").exists()


def test_a_copy_replaces_a_link_and_not_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("new")
    (tmp_path / "kept").write_text("kept")
    there = tmp_path / "link"
    there.symlink_to("kept")
    with gathering("/root") as batch:
        batch.copy_in(str(tmp_path / "file"), str(there))
        assert carried_out(batch, tmp_path / "root").returncode == 0
    assert there.read_text() == "new" and not there.is_symlink()
    assert (tmp_path / "kept").read_text() == "kept"
