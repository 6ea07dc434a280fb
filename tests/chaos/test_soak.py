"""Nothing is broken, and callers come and go for a long time: nothing is kept of those who have gone."""

from __future__ import annotations

import asyncio

import pytest

from tests.chaos.harness.stage import Stage
from tests.chaos.harness.trial import load
from tests.chaos.harness.verdict import Demands, judge
from tests.chaos.harness.watching import slope_mib_a_minute, watching

# The fraction of callers who leave before they are answered.
IMPATIENT = 0.4
# Caches fill and allocators settle at first: the first part of the time does not count.
SETTLING = 0.3
MOST_MIB_A_MINUTE = 1.0


@pytest.mark.soak
async def test_memory_does_not_grow(stage: Stage, request: pytest.FixtureRequest) -> None:
    """Every call of somebody who stays is answered, and no process holds more and more."""
    await stage.fleet.whole()
    async with load(stage.fleet, stage.ground, stage.pace) as running:
        await running.sound()
        running.callers.impatient = IMPATIENT
        async with watching(stage.fleet) as watch:
            with running.history.fault():
                await asyncio.sleep(request.config.getoption("--soak") * 60)
            await running.callers.answered()
            taken = watch.machine.taken
    verdict = judge(running.history, watch.calls, watch.growth_mib, machine_taken=taken)
    stage.book.enter(verdict)
    slopes = {}
    for name, samples in watch.memory.items():
        settled = samples[int(len(samples) * SETTLING) :]
        slopes[name] = slope_mib_a_minute(settled)
        stage.book.lines.append(f"{'':11}{name}: {settled[-1][1]:.0f} MiB, {slopes[name]:+.2f} MiB a minute")
    verdict.demand(Demands(failures=0))
    assert max(slopes.values()) <= MOST_MIB_A_MINUTE, slopes
