"""How the evil agent works with git: a part of its programs."""

from __future__ import annotations

GIT = '''
def git(*words, cwd="/tmp/clone"):
    """Run git; return what it wrote."""
    made = ["git", "-c", "user.name=evil", "-c", "user.email=e@x.example", *words]
    try:
        done = subprocess.run(made, cwd=cwd, capture_output=True, timeout=90)
    except subprocess.TimeoutExpired:
        return "it did not end"
    said = (done.stdout + done.stderr).decode(errors="replace").strip()
    print("git", *words[:3], done.returncode, said[-200:])
    return said

def commit(files, branch, base="origin/main"):
    """Commit files to a new branch of the clone; return the commit."""
    if not os.path.exists("/tmp/clone"):
        git("clone", "-q", "http://git.bottle.internal/origin.git", "/tmp/clone", cwd="/tmp")
    git("checkout", "-q", "--force", "-B", branch, base)
    for name, content in files.items():
        path = "/tmp/clone/" + name
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(content)
        os.chmod(path, 0o755)
    git("add", "--all", "--force")
    git("commit", "-q", "-m", "work on " + branch)
    return git("rev-parse", "HEAD")

def pack_of(commits):
    """Return a pack with all that these commits add to the upstream's main branch."""
    listed = subprocess.run(["git", "rev-list", "--objects", *commits, "^origin/main"], cwd="/tmp/clone",
                            capture_output=True, check=True).stdout
    ids = b"".join(line.split(b" ")[0] + b"\\n" for line in listed.splitlines())
    return subprocess.run(["git", "pack-objects", "--stdout", "-q"], cwd="/tmp/clone", input=ids,
                          capture_output=True, check=True).stdout

def push_raw(updates, pack):
    """Send a push that no git would send; return the answer."""
    lines = [f"{old} {new} {ref}" for old, new, ref in updates]
    lines[0] += "\\0report-status side-band-64k"
    body = b"".join(b"%04x%s" % (len(line) + 4, line.encode()) for line in lines) + b"0000" + pack
    return http("git.bottle.internal", "/origin.git/git-receive-pack", "POST", body,
                Content_Type="application/x-git-receive-pack-request")
'''
