"""Traffic and a fault: a trial runs both and comes to a verdict."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import grpc

from predictmesh.gateway.v1.prediction_service_pb2_grpc import PredictionServiceStub
from tests.chaos.harness.callers import OPTIONS, Callers
from tests.chaos.harness.fleet import Fleet
from tests.chaos.harness.ground import Ground
from tests.chaos.harness.history import Ending, History
from tests.chaos.harness.verdict import OF_A_FAULT, Verdict, judge
from tests.chaos.harness.watching import watching
from tests.chaos.harness.writers import writing
from tests.worlds.sandbox import eventually

# As many predictions in a row, answered and undegraded, are a sound fleet.
SOUND = 60
SOUND_LIMIT_S = 60.0
# Faults of a soak last so long at least.
SOAK_S = 10.0


@dataclass(frozen=True)
class Pace:
    """How long the fault lasts, how long the trial goes on after it (seconds), the calls a second, and the seed."""

    fault_s: float
    after_s: float
    rate: float
    seed: int

    @property
    def is_short(self) -> bool:
        """Whether this is for CI, not for a soak."""
        return self.fault_s < SOAK_S


@dataclass(frozen=True)
class Load:
    """Predictions and writes that are under way."""

    callers: Callers
    history: History

    async def sound(self) -> None:
        """Wait until the fleet answers as it should, and begin the history there, but for answers that were wrong."""

        async def is_sound() -> bool:
            last = self.history.calls[-SOUND:]
            return len(last) == SOUND and not any(
                call.ending is Ending.FAILED or call.degradations & OF_A_FAULT for call in last
            )

        await eventually(is_sound, "a sound fleet", SOUND_LIMIT_S)
        self.history.begin()


@asynccontextmanager
async def load(fleet: Fleet, ground: Ground, pace: Pace) -> AsyncIterator[Load]:
    """Predict and write for the time of the context; at its end every call has ended, and lost writes are known."""
    history = History()
    namespace = ground.namespace
    writes = writing(ground, fleet.addresses, history, pace.seed)
    async with writes, grpc.aio.insecure_channel(fleet.addresses.gateway, options=OPTIONS) as channel:
        stub = PredictionServiceStub(channel)
        callers = Callers(stub, namespace, ground.ledger, history, random.Random(pace.seed), pace.rate)
        task = asyncio.create_task(callers.run())
        try:
            yield Load(callers, history)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await callers.answered()


async def tried(
    fleet: Fleet, ground: Ground, fault: AbstractAsyncContextManager[object], pace: Pace, *, burst: float = 1
) -> Verdict:
    """Let a fault last for a while under load, `burst` times as much meanwhile, and return what came of it."""
    await fleet.whole()
    async with load(fleet, ground, pace) as running:
        await running.sound()
        async with watching(fleet) as watch:
            with running.history.fault():
                running.callers.rate = pace.rate * burst
                async with fault:
                    await asyncio.sleep(pace.fault_s)
                running.callers.rate = pace.rate
            await asyncio.sleep(pace.after_s)
            await running.callers.answered()
            taken = watch.machine.taken
    return judge(running.history, watch.calls, watch.growth_mib, machine_taken=taken)
