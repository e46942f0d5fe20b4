"""git-guard refuses each command that would change another worktree, however it is written, and no other command."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.style.project import ROOT

HOOK = ROOT / "src/moot/templates/claude/hooks/git-guard.sh"


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a repository with the worktrees of two roles; return its main worktree."""
    main = tmp_path_factory.mktemp("team") / "main"
    environ = {"PATH": os.environ["PATH"], "HOME": str(main.parent), "GIT_CONFIG_NOSYSTEM": "1"}
    for line in (
        f"init -q -b main {main}",
        f"-C {main} -c user.name=a -c user.email=a@b commit -q --allow-empty -m first",
        f"-C {main} worktree add -q .worktrees/spec -b spec/work",
        f"-C {main} worktree add -q .worktrees/qa -b qa/work",
        f"-C {main} config alias.undo reset",
        f"-C {main} config alias.elsewhere !cd../qa&&git\treset",
        f"init -q {main.parent}/other",
    ):
        words = [word.replace("\t", " ").replace("!cd", "!cd ").replace("&&", " && ") for word in line.split(" ")]
        subprocess.run(["git", *words], env=environ, check=True, timeout=30)
    (main / ".worktrees/spec/src").mkdir()
    return main


def reason(team: Path, command: str, *, cwd: str = ".worktrees/spec", worktree: str | None = None) -> str:
    """Return why the hook refuses a command of the role spec; "" when it lets it pass."""
    given = {
        "session_id": "s",
        "cwd": str(team / cwd),
        "hook_event_name": "PreToolUse",
        "tool_name": "Bash",
        "tool_input": {"command": command},
    }
    own = str(team / ".worktrees/spec") if worktree is None else worktree
    ended = subprocess.run(
        [HOOK],
        input=json.dumps(given),
        env={"PATH": os.environ["PATH"], "HOME": str(team.parent), "CONVO_WORKTREE": own},
        cwd=team / cwd,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stderr
    if not ended.stdout:
        return ""
    answer = json.loads(ended.stdout)["hookSpecificOutput"]
    assert (answer["hookEventName"], answer["permissionDecision"]) == ("PreToolUse", "deny")
    return str(answer["permissionDecisionReason"])


ELSEWHERE = [
    "git -C {main} merge spec/work",
    "git -C ../qa merge spec/work",
    "git -C ../.. -C . commit -m x",
    "git -c user.name=x -C {main} commit -m x",
    "git --git-dir={main}/.git update-ref refs/heads/x HEAD",
    "git --git-dir {main}/.git --work-tree {main} reset --hard",
    "GIT_DIR={main}/.git git reset --hard",
    "GIT_WORK_TREE=../qa git checkout .",
    "export GIT_DIR={main}/.git; git reset --hard",
    "cd {main} && git merge spec/work",
    "cd ../qa; git clean -fd",
    "cd ../qa\ngit clean -xfd",
    "cd '../qa' && git clean -f -d",
    'cd "{main}" && git checkout other',
    "cd {main}; git switch other",
    "cd {main}; git restore .",
    "cd {main}; git stash",
    "cd {main}; git stash drop",
    "cd {main} && true; git add .",
    "cd / ; cd {main} ; git reset --hard",
    "cd $(dirname {main})/main && git reset --hard",
    "cd `pwd` && git reset --hard",
    "(cd {main}; git reset --hard)",
    "(cd {main} && git status) && (cd ../qa && git reset --hard)",
    "{{ cd {main}; git reset --hard; }}",
    "if true; then cd {main}; fi; git reset --hard",
    "for place in {main} ../qa; do git -C $place reset --hard; done",
    "while cd ../qa; do git rm x; done",
    "PLACE={main}; git -C $PLACE reset --hard",
    'PLACE="{main}"; git -C "${{PLACE}}" reset --hard',
    "G=git; cd {main}; $G reset --hard",
    "OPTIONS='-C {main}'; git $OPTIONS reset --hard",
    "git -C $UNKNOWN reset --hard",
    "cd {main}; 'git' reset --hard",
    "cd {main}; gi\\t reset --hard",
    "cd {main}; /usr/bin/git reset --hard",
    "cd {main}; env git reset --hard",
    "env -C {main} git reset --hard",
    "env GIT_DIR={main}/.git git reset --hard",
    "cd {main}; command git reset --hard",
    "cd {main}; nohup timeout -k 1 5 nice -n 3 git reset --hard",
    "cd {main}; sudo -u root git reset --hard",
    "cd {main}; echo x | xargs git rm",
    "echo {main} | xargs -I% git -C % reset --hard",
    "find {main} -maxdepth 0 -exec git -C {{}} reset --hard \\;",
    "bash -c 'cd {main} && git reset --hard'",
    'sh -c "git -C {main} reset --hard"',
    "eval 'git -C {main}' reset --hard",
    "echo 'git -C {main} reset --hard' | bash",
    "bash <<'END'\ncd {main}\ngit reset --hard\nEND",
    "bash <<< 'git -C {main} reset --hard'",
    "cat <<END\n$(git -C {main} reset --hard)\nEND",
    "echo $(git -C {main} reset --hard)",
    "echo `git -C {main} reset --hard`",
    'echo "x $(cd {main} && git reset --hard)"',
    "cat <(git -C {main} reset --hard)",
    "alias g='git -C {main}'; g reset --hard",
    'g() {{ git "$@"; }}; cd {main}; g reset --hard',
    "function g {{ git reset --hard; }}; cd {main}; g",
    "cd {main}; git -c alias.x='reset --hard' x",
    "git -c alias.x='!git -C {main} reset' x",
    "cd {main}; git undo --hard",
    "git elsewhere",
    "cd {main}; git $WHAT",
    "cd {main}; git \\\n  reset --hard",
    "true && cd {main} || false; git reset --hard",
    "git status; cd {main} | true; git -C {main} push",
    "git -C {main} branch -D qa/work",
    "git -C {main} tag v1",
    "git -C {main} worktree remove ../qa",
    "git -C {main} cherry-pick HEAD",
    "git -C {main} rebase spec/work",
    "git -C ../qa merge --ff-only spec/work",
    "git -C ../../../other commit -m x",
    "git -C {main} config user.name x",
    "git -C {main} reset --hard 'unclosed",
    "command cd {main}; git reset --hard",
    "builtin cd {main} && git commit -am x",
    "time cd {main}; git reset --hard",
    "cd {main}/../ma* && git reset --hard",
    "git -C ../../../mai? reset --hard",
    "git -C ../[q]a reset --hard",
    "cd ../../../{{main,}} && git reset --hard",
    "P=../q*; cd $P; git reset --hard",
    "export CDPATH={main}/..; cd main && git reset --hard",
    "CDPATH=../..:{main}/.. cd main; git reset --hard",
    "env --chdir={main} git reset --hard",
    "env --chdir {main} git reset --hard",
    "env -iC{main} git reset --hard",
    "env -S'git -C {main}' reset --hard",
    "sudo -D {main} git reset --hard",
    "sudo --user root git -C {main} reset --hard",
    "timeout --signal KILL 5 git -C {main} reset --hard",
    "cd ~-/..; git reset --hard",
    "cd $'\\x2e./..'; git reset --hard",
    "cd src; cd $OLDPWD/../..; git reset --hard",
    "pushd {main}; pushd ..; popd; git reset --hard",
    "D=src; read D < x; cd $D; git reset --hard",
    "D=src; export D=$(cat x); cd $D; git reset --hard",
    "D=../..; D+=/../main; cd $D; git reset --hard",
    "D=src; printf -v D %s {main}; cd $D; git reset --hard",
    "for x in $(git -C {main} reset --hard); do true; done",
    "(cd {main}; case x in x) git reset --hard ;; esac)",
    "(cd {main}; f() {{ true; }}; git reset --hard)",
    "trap 'git -C {main} reset --hard' EXIT",
    "watch -n1 git -C {main} reset --hard",
    "strace -f git -C {main} reset --hard",
    "uv run --directory {main} git reset --hard",
    "D='git -C {main} reset --hard'; echo $D | bash",
    "cd {main}; echo $UNKNOWN | bash",
    "cd {main}; cd src; cd - && git reset --hard",
    "cd - && git reset --hard",
    "pushd {main}; pushd /tmp; popd; git reset --hard",
    'cd {main}; git -C "$(pwd)" reset --hard',
    'cd ../qa && cd "$(git rev-parse --show-toplevel)"; git reset --hard',
    "git -C {main} fetch -u . +spec/work:main",
    "cd {main}; git fetch --update-head-ok . spec/work:main",
    "git -C {main} fetch . +spec/work:other",
    "git -C {main} fetch $WHAT",
    "git -C {main} pull --ff-only . +spec/work:main",
    "git -C {main} merge --ff-only --squash spec/work",
    "git -C {main} pull --ff-only --rebase",
    "git -C {main} diff --output=a",
    "git -C {main} log -1 -p --output a",
    "git -C {main} grep -O'git reset --hard' x",
    "git -C {main} fsck --lost-found",
    "git -C {main} config --list --unset x",
    "git -C {main} config get x --unset y",
    "git -C {main} config $WHAT",
    "git -C {main} branch -l --unset-upstream",
    "git -C {main} branch -v new",
    "git -C {main} branch -u origin/main",
    "git -C {main} tag -d v1",
    "git -C {main} symbolic-ref --delete HEAD",
    "git -C {main} remote -v prune origin",
    "git -C {main} reflog expire --all",
    "git worktree remove --force {main}/.worktrees/qa",
    "git worktree remove ../qa",
    "git worktree remove qa",
    "git worktree remove $WHICH",
    "git worktree unlock ../qa; git worktree move ../qa ../qa2",
    "git update-ref refs/heads/main HEAD~1",
    "git update-ref -m why refs/heads/qa/work HEAD",
    "git update-ref --stdin < x",
    "git symbolic-ref HEAD refs/heads/main",
    "git branch -m qa/work mine",
    "git checkout -B main HEAD~1",
    "git switch -C qa/work",
    "git checkout --ignore-other-worktrees main",
    "git fetch -u . +HEAD:main",
    "git pull . +HEAD:qa/work",
    "git push . +HEAD:main",
    "git push {main} HEAD:qa/work",
    "git filter-branch --tree-filter true -- --all",
    "git -c core.worktree={main} reset --hard",
    "git --config-env=core.worktree=D reset --hard",
    "git config core.worktree {main}",
    "GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=core.worktree GIT_CONFIG_VALUE_0={main} git reset --hard",
    "git rebase -x 'git -C {main} reset --hard' main",
    "git bisect run git -C {main} reset --hard",
]


@pytest.mark.parametrize("command", ELSEWHERE)
def test_a_command_that_changes_another_worktree_is_refused(team: Path, command: str) -> None:
    assert reason(team, command.format(main=team))


def test_a_refusal_names_both_worktrees_and_what_is_allowed(team: Path) -> None:
    found = reason(team, "git -C ../qa clean -fd")
    assert f"'git clean' would run in {team}/.worktrees/qa" in found
    assert f"your worktree is {team}/.worktrees/spec" in found
    assert "--ff-only" in found


@pytest.mark.parametrize("command", ["git merge x", "git clean -fd", "git stash", "git restore .", "git checkout -b x"])
def test_a_shell_that_stands_in_another_worktree_is_refused(team: Path, command: str) -> None:
    assert reason(team, command, cwd=".")
    assert reason(team, command, cwd=".worktrees/qa")
    assert reason(team, f"cd {team}/.worktrees/spec && {command}", cwd=".") == ""


OWN = [
    "",
    "ls -la",
    "git status",
    "git commit -m 'it''s $(done)'",
    "git commit -m \"$(cat <<'END'\nA subject: don't panic\n\ngit -C /elsewhere reset is only text here\nEND\n)\"",
    "git add -A && git commit -m x && git push -u origin spec/work",
    "git clean -fd; git stash; git stash pop; git restore .; git switch -c spec/x",
    "cd src && git add . && cd .. && git commit -m x",
    "cd {main}/.worktrees/spec && git reset --hard HEAD~1",
    "git -C {main}/.worktrees/spec rebase main",
    "git -C {main} log --oneline -5 | head",
    "git -C {main} status; git -C ../qa diff HEAD~1; git -C ../qa show qa/work:x",
    "cd {main} && git branch --show-current && git branch -a && git stash list && git worktree list",
    "git -C {main} merge --ff-only spec/work",
    "cd {main} && git pull --ff-only",
    "(cd {main} && git log -1); git commit -m x",
    "X=$(git -C {main} rev-parse HEAD); git reset --hard $X",
    "for branch in $(git branch --list); do git log -1 $branch; done",
    "if git diff --quiet; then echo clean; else git commit -am x; fi",
    "cat > notes.md <<END\ncd {main}; git reset --hard\nEND\ngit add notes.md",
    "echo 'git -C {main} reset --hard' > advice.txt",
    "grep -rn 'git reset' . | head; git add x",
    "mkdir -p /tmp/nothing-here && cd /tmp && ls",
    "[[ -f x && -f y ]] && git add x y",
    "case $1 in a) git add a ;; b) git add b ;; esac",
    "git undo --soft HEAD",
    "npm test 2>&1 | tee out.txt && git add -p",
    "gitk; legit reset; git-lfs ls-files",
    "cd /tmp && ls; cd - && git commit -am x",
    "pushd /tmp; make; popd; git commit -am x",
    'git -C "$(pwd)" commit -m x; cd "$(git rev-parse --show-toplevel)" && git commit -m x',
    "T=$(mktemp -d); cd $T && git init && git commit -m x",
    "git add *.py 'src/*' src/{{a,b}}.py && git commit -m 'Move [x] to {{y,z}}?'",
    "command -v git && command git commit -m x; builtin cd src && git add .",
    "env -i PATH=$PATH git commit -m x; timeout 5 git fetch; sudo -u root git add x",
    "export CDPATH=/usr:/var; cd src && git add .",
    "cd {main} && case $x in *.py|y) git log ;; *) git status ;; esac; echo [a-z]*",
    "git commit -m $'a\\n\\nb' && git diff HEAD^{{commit}} stash@{{0}}",
    'read -r A B < x; export X=$(date); git commit -m "$A $X"; which git; man git commit',
    "cd {main} && grep -rn git src && pytest -k '*git*' tests/*",
    'f() {{ git add "$1"; }}; f x',
    "[ -f x ] && [[ $x == *a* ]] && git rm --cached x*",
]


@pytest.mark.parametrize("command", OWN)
def test_work_in_the_own_worktree_and_reading_elsewhere_pass(team: Path, command: str) -> None:
    assert reason(team, command.format(main=team)) == ""


def test_without_a_worktree_of_its_own_an_agent_is_not_guarded(team: Path) -> None:
    assert reason(team, f"git -C {team} reset --hard", worktree="") == ""


def test_a_command_with_too_many_possible_folders_is_refused_in_time(team: Path) -> None:
    maybe = "; ".join(f"cd maybe{number} || true" for number in range(19))
    assert "known only when it runs" in reason(team, f"{maybe}; git reset --hard")


def test_a_command_that_is_nested_too_deep_is_refused(team: Path) -> None:
    nested = '"$(' * 400 + "cd ..; git reset --hard" + ')"' * 400
    assert "could not be read" in reason(team, f"echo {nested}")


def test_a_stash_of_another_agent_is_neither_taken_nor_removed(team: Path) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for role in ("qa", "spec"):
        (team / ".worktrees" / role / "new").write_text(role)
        folder = team / ".worktrees" / role
        subprocess.run(["git", "-C", folder, *identity, "stash", "push", "-qu", "-m", "x"], check=True, timeout=30)
    assert reason(team, "git stash pop") == ""
    assert reason(team, "git stash drop 0; git stash apply stash@{1}; git stash show -p stash@{1}") == ""
    for command in ("git stash pop 1", "git stash drop -q stash@{1}", "git stash pop $WHICH", "git stash clear"):
        assert "a stash of the branch qa/work" in reason(team, command)


@pytest.mark.parametrize("command", ["cd \ud800; git reset --hard", "cd x\0y; git reset --hard"])
def test_a_path_that_no_file_can_have_is_refused(team: Path, command: str) -> None:
    assert "could not be read" in reason(team, command)
