"""T13 and other bottles: what one agent can do to another one. A team's messages are tested with its space."""

from __future__ import annotations

from tests.bottles.evil.record import Tried, attempt
from tests.bottles.evil.stage import Stage

_LISTEN = """
import threading
def serve(listener):
    while True:
        line, _ = listener.accept()
        word = line.recv(200).decode(errors='replace')
        line.close()
        web('allowed.test', '/' + word)
listener = socket.create_server(('', 8765))
threading.Thread(target=serve, args=(listener,), daemon=True).start()
web('allowed.test', '/listening')
end = time.monotonic() + 15
while not os.path.exists('/tmp/enough') and time.monotonic() < end:
    time.sleep(0.1)
    if os.path.exists('/tmp/knock'):
        os.remove('/tmp/knock')
        with socket.create_connection(('127.0.0.1', 8765), 5) as line:
            line.sendall(b'from-itself')
time.sleep(0.3)
"""


@attempt(
    "T13",
    "a program that another bottle serves, by every address and name that could lead there",
    control="the other bottle reaches its own program",
    oracle="the program itself, which reports each visitor to a canary",
)
def program_of_another_bottle(stage: Stage) -> Tried:
    token = stage.evil.token("visitor")
    listening = stage.other.begin(_LISTEN)
    alive = stage.comes(f"{listening.token}/listening")
    said = stage.evil.run(
        """
        for address in ('10.0.2.15', '10.0.2.1', '10.0.2.2', '10.0.2.3', '10.0.2.255', '172.17.0.2', '172.17.0.3',
                        '224.0.0.1', '198.18.0.1', OTHER, OTHER + '.bottle.internal', 'localhost', 'allowed.test'):
            try:
                with socket.create_connection((address, 8765), 3) as line:
                    line.sendall(TOKEN.encode())
                    print(address, line.recv(10))
            except OSError as error:
                print(address, error)
        """,
        token,
        OTHER=stage.other.slug,
    )
    reached = stage.arrived(token)
    stage.other.run("open('/tmp/knock', 'w').close()")
    alive &= stage.comes("from-itself")
    stage.other.run("open('/tmp/enough', 'w').close()")
    listening.said()
    return Tried(alive, reached, said)


@attempt(
    "T13",
    "the requests of another bottle: to read them, to wait for them, to use their approval",
    control="the other bottle uses its approval",
    oracle="the canaries' packets, and what an allowed host received",
)
def requests_of_another_bottle(stage: Stage) -> Tried:
    token, found, allowed = stage.evil.token(), stage.evil.token(), stage.other.token()
    reference = stage.approve_host(stage.other, "alias.wild.test:80")
    stage.other.run("web('alias.wild.test', '/x')", allowed)
    arrived = stage.comes(allowed)
    said = stage.evil.run(
        """
        text = tool('capability_status', request=ID) + tool('capability_status')
        for way in ('guard.bottle.internal', OTHER + '.guard.bottle.internal', 'git.bottle.internal'):
            text += str(http(way, '/mcp?slug=' + OTHER, 'GET', Host=OTHER, X_Bottle=OTHER))
        carry_out(text)
        """,
        found,
        ID=reference.partition("-")[0],
        OTHER=stage.other.slug,
    )
    said += stage.evil.run("web('alias.wild.test', '/x')", token)
    reached = stage.arrived(token)
    return Tried(arrived, reached or "alias.wild.test" in stage.carried_out(found), said)
