"""Services of the host: its programs, processes, files, locks, users and system-call filters.

Every other package, and the packages above `pyro_mcp`, use these modules directly. They import only `pyro_mcp.errors`.
"""
