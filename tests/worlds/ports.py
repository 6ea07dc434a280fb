"""Ports that stay free until they are listened on, and while a process that has one is restarted.

They are below those that the kernel gives to outgoing connections: one of them may be taken at any moment.
"""

from __future__ import annotations

import os
import random
import socket

RANGE = range(10_000, 30_000)


def port_row(count: int = 1) -> int:
    """Return the first of so many free ports in a row, which no other process of the same test run is given."""
    own = _own()
    # The same seed in two test runs at once would have them choose the same ports.
    choose = random.SystemRandom()
    for _ in range(200):
        first = choose.randrange(own.start, own.stop - count)
        if all(_free(port) for port in range(first, first + count)):
            return first
    raise AssertionError(f"no {count} free ports in a row")


def _own() -> range:
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    # One that takes the place of a worker that has crashed has a number beyond their count.
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % workers
    size = len(RANGE) // workers
    return RANGE[number * size : (number + 1) * size]


def _free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
