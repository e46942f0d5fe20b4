"""The space server: spaces of messages, decisions and questions, for agents and people, over REST and WebSocket.

    api          HTTP, WebSocket and SSE: parse, one call below, render
    admin        bootstrap, users, tokens, teams, backup, doctor
    objects      threads, decisions, questions, links, timers, archives, activity, summary, orientation
    delivery     the state of a message to a recipient: queued, pushed, acknowledged or dead; live feeds
    events       the log of a space: sequence numbers without holes, reading, mentions, search
    spaces       spaces and their participants
    identity     tenants, actors, tokens; the caller of each call
    database     tables, migrations, readers, one writer with group commit
    results      the objects that the server returns
    logs         log lines in JSON
    ids, errors, settings, clock

Each line imports only from the lines below it. Everything but `api` and `delivery.feeds` is synchronous: a function
gets a `Transaction`, and its caller passes the function to `Database.read` or `Database.write`.
"""
