"""How many callers are connected to a port, as the kernel tells it."""

from __future__ import annotations

import socket
import sys
from contextlib import ExitStack

import pytest

from services.cli.restarting.connections import established
from tests.support.valkey import wait_until


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux's kernel")
def test_callers_come_and_go() -> None:
    """Those that are connected count, and those that have gone do not; each once, though it has two ends here."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert 0 == established(address)
        callers = [stack.enter_context(socket.create_connection(server.getsockname())) for _ in range(3)]
        for _ in callers:
            stack.enter_context(server.accept()[0])
        wait_until(lambda: established(address) == 3, "three callers")
        callers[0].close()
        wait_until(lambda: established(address) == 2, "two callers")
