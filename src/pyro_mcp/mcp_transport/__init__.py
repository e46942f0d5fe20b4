"""The transports of an MCP server: this process's standard streams, and HTTP on loopback with a bearer token.

streams     lines in and out, without a thread that could hang
http        a listening socket, the token, and the server on it
admission   the bounds on peers that have not shown the token
exit        the end of a process, also when something cannot be interrupted
"""
