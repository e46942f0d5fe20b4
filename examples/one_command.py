"""Run a command in a virtual machine that is deleted afterwards, and print its result."""

from __future__ import annotations

from pyro_mcp import Pyro
from pyro_mcp.errors import PyroError

pyro = Pyro()
try:
    done = pyro.run_in_vm("debian:12", command="git --version && rm --recursive --force --no-preserve-root /usr")
except PyroError as error:
    raise SystemExit(f"{error.message}\n{error.hint}") from error
print(done["stdout"], end="")
print(f"exit code {done['exit_code']}, on {done['accelerator']}, deleted: {done['cleanup']['deleted']}")
