"""Every call has a deadline: the caller's, or the endpoint's; what is late is told so, and harms nobody else."""

from __future__ import annotations

import asyncio

import pytest
import pytest_asyncio

from tests.worlds.failures import failure
from tests.worlds.models import spinning
from tests.worlds.resources import values
from tests.worlds.sandbox import TIMEOUT_S, Sandbox

SOURCES = {"x": ["request:x"], "spins": ["request:spins"]}
# Turns of the loop that take longer than any deadline here, and shorter than what a test waits.
LONG = 200_000


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def slow(own: Sandbox) -> Sandbox:
    """Endpoint `slow` takes as long as it is asked to, for at most 50 ms unless the caller has a deadline."""
    await own.serve("slow", spinning(), SOURCES, default_timeout_ms=50)
    await own.endpoint("patient", "slow", version="1.0.0", default_timeout_ms=60_000)
    # The model service computes what has been quick so far in its event loop, where no deadline is noticed.
    await own.predict("patient", {}, {"x": [1.0], "spins": [LONG]})
    return own


async def test_a_call_without_a_deadline_gets_the_default(slow: Sandbox) -> None:
    """The gateway ends it when the endpoint's default time is over."""
    found = await failure(slow.mesh.gateway.Predict(slow.request("slow", {}, {"x": [1.0], "spins": [LONG]})))
    assert ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED") == (found.code, found.reason)


async def test_the_caller_decides_over_the_default(slow: Sandbox) -> None:
    """A longer deadline of the caller's is kept."""
    answer = await slow.predict("slow", {}, {"x": [2.0], "spins": [LONG]})
    assert [2.0] == values(answer.outputs[0])


async def test_a_deadline_that_is_too_short(slow: Sandbox) -> None:
    """It ends the call, and the next one is answered."""
    request = slow.request("patient", {}, {"x": [1.0], "spins": [LONG]})
    found = await failure(slow.mesh.gateway.Predict(request, timeout=0.03))
    assert "DEADLINE_EXCEEDED" == found.code
    answer = await slow.predict("patient", {}, {"x": [3.0], "spins": [0]})
    assert [3.0] == values(answer.outputs[0])


async def test_neighbours_of_a_late_row(slow: Sandbox) -> None:
    """A row that runs out of time leaves the rows it travels with as they are."""
    late = slow.mesh.gateway.Predict(slow.request("patient", {}, {"x": [0.0], "spins": [LONG]}), timeout=0.03)
    calls = [asyncio.create_task(slow.predict("patient", {}, {"x": [float(n)], "spins": [10]})) for n in range(8)]
    assert "DEADLINE_EXCEEDED" == (await failure(late)).code
    assert [[float(n)] for n in range(8)] == [values((await call).outputs[0]) for call in calls]


async def test_a_cancelled_call(slow: Sandbox) -> None:
    """It ends at once for its caller, and the others are answered."""
    call = slow.mesh.gateway.Predict(slow.request("patient", {}, {"x": [0.0], "spins": [LONG]}), timeout=TIMEOUT_S)
    others = [asyncio.create_task(slow.predict("patient", {}, {"x": [float(n)], "spins": [1]})) for n in range(8)]
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert [[float(n)] for n in range(8)] == [values((await other).outputs[0]) for other in others]
