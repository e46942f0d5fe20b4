"""The surfaces of a space server for programs: REST, WebSocket and server-sent events.

app         the application
serving     one server process, from its sockets to its end
call        one call of a client, and its transaction
requests    the bodies of requests; `moot.server.results` has those of answers
routes      the handlers
"""
