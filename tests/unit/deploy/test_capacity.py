"""What a load takes follows from what was measured."""

from __future__ import annotations

import pytest

from tests.bench.capacity.footprint import Footprint
from tests.bench.capacity.plan import Load, cpu_us, footprint_of, planned, read, store_bytes

CPU = {"gateway": 200.0, "features": 50.0, "model": 100.0}
FOOTPRINT = Footprint({1: 100.0, 4: 120.0, 16: 180.0}, 1.0, 1.0, 20, 1.0, 1)


def test_pods_follow_from_processor_time() -> None:
    """10,000 predictions of 200 us are 2 cores, at half of each 4; a pod of the model service has two cores."""
    plan = planned(Load(10_000, entities=3, utilization=0.5), CPU, read_us=10)
    assert {"gateway": 4, "features": 2, "model": 2} == plan.pods
    assert (1, 4 + 2 + 2 * 2 + 1) == (plan.store_primaries, plan.cores)


def test_two_of_each_at_least() -> None:
    """One can be away, whatever the load."""
    plan = planned(Load(1), CPU, read_us=1)
    assert {"gateway": 2, "features": 2, "model": 2} == plan.pods
    assert 1 == plan.store_primaries


def test_cells_share_the_load() -> None:
    """Each of ten cells is as one that has a tenth to answer."""
    assert planned(Load(1e5), CPU, 1) == planned(Load(1e6, cells=10), CPU, 1)


@pytest.mark.parametrize(("floats", "size"), [(1, 100), (4, 120), (8, 136), (16, 180), (64, 372)])
def test_rows_take_memory_by_their_width(floats: int, size: float) -> None:
    """What was measured, and four bytes for each number beyond."""
    assert 1000 * size == store_bytes(FOOTPRINT, 1000, floats)


def test_committed_figures_are_understood() -> None:
    """Every service that answers has cost something, and so has every row."""
    assert all(us > 0 for us in cpu_us(read("two_cores.json")).values())
    footprint = footprint_of(read("footprint.json"))
    assert list(footprint.row_bytes.values()) == sorted(footprint.row_bytes.values())
    assert min(footprint.read_us, footprint.endpoint_bytes, footprint.version_bytes) > 0
