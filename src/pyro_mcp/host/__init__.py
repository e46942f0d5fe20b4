"""Services of the host: its programs, processes, files, locks, users and system-call filters.

The packages of `pyro_mcp` use all modules here directly; the packages above it use those in `__all__`:

    from pyro_mcp.host.files import locked, private_directory, write_atomic
    from pyro_mcp.host.process import run

    folder = private_directory(Path.home() / ".local/state/example")
    with locked(folder / "lock", deadline_seconds=10):
        version = run(["git", "--version"], deadline_seconds=10).stdout
        write_atomic(folder / "version", version.decode())

A program, a lock or a file that fails raises an error of `pyro_mcp.errors`, with a hint that says what to do.
"""

__all__ = [
    "confinement",
    "files",
    "folder_watch",
    "process",
    "process_identity",
    "programs",
    "progress",
    "regular_file",
    "staging",
    "token_bucket",
]
