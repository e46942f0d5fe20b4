"""A machine whose guest's kernel panicked says so."""

from __future__ import annotations

import pytest

from pyro_mcp.engine.fake import FakeEngine
from pyro_mcp.errors import GuestGone
from pyro_mcp.machines.lifecycle import Lifecycle
from tests.machines.conftest import start


def test_the_panic_of_a_kernel_is_the_reason_of_its_machines_end(lifecycle: Lifecycle, engine: FakeEngine) -> None:
    record = start(lifecycle)
    engine.panics[lifecycle.folders.home(record.id)] = "Out of memory"
    engine.running.clear()
    with pytest.raises(GuestGone, match=": its kernel panicked: Out of memory"), lifecycle.connect(record):
        pass
    assert lifecycle.current_record(record.id).failure == "its kernel panicked: Out of memory"
