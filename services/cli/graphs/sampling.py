"""What gateways count while one waits."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from services.cli.errors import Failure
from services.cli.fetch import fetch
from services.cli.graphs.flow import FAMILIES
from services.cli.graphs.metrics import Counts, Measured, add_up, increase, read_counts
from services.cli.targets import Replica


def measure(gateways: Sequence[Replica], interval_s: float, timeout_s: float) -> Measured:
    """Return what all the gateways count in an interval. Failure if one does not answer."""
    began = time.monotonic()
    before = _look(gateways, timeout_s)
    time.sleep(max(0.0, began + interval_s - time.monotonic()))
    ended = time.monotonic()
    after = _look(gateways, timeout_s)
    return Measured(add_up(map(increase, before, after)), ended - began)


def _look(gateways: Sequence[Replica], timeout_s: float) -> list[Counts]:
    with ThreadPoolExecutor(len(gateways)) as pool:
        return list(pool.map(lambda gateway: _read(gateway, timeout_s), gateways))


def _read(gateway: Replica, timeout_s: float) -> Counts:
    try:
        status, page = fetch(gateway.address, "/metrics", timeout_s)
    except OSError as error:
        raise Failure(f"cannot reach the {gateway}: {error} (--http names other addresses)") from error
    if status != 200:
        raise Failure(f"{gateway.address} ({gateway.source}) has no metrics: status {status}")
    return read_counts(page, FAMILIES)
