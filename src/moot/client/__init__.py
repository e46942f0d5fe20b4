"""The connection of a person or an agent to a space server: its address, a login, requests, and the live log.

server_address   how connections to a server are made
space_client     the requests, and `models`, their answers; `errors` are what can fail
space_feed       the live log over a WebSocket
auth             the login of a person
"""
