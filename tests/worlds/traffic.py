"""Predictions without a pause while something else happens, and what became of them."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc

from predictmesh.gateway.v1 import prediction_service_pb2 as gateway_pb
from predictmesh.gateway.v1.provenance_pb2 import DegradationReason
from tests.worlds.failures import Failure, failure_of
from tests.worlds.resources import values
from tests.worlds.sandbox import Sandbox, eventually

CALLERS = 8
# A caller whose call failed waits as long, as a client with a backoff would.
BACKOFF_S = 0.02


@dataclass
class Traffic:
    """Callers that ask an endpoint for riders 0 to 9, whose value is ten times their number times the version.

    `wrong` holds answers that are not that; `degradations` and `versions` count what answers said.
    """

    own: Sandbox
    endpoint: str
    timeout_s: float = 5.0
    answered: int = 0
    failures: list[Failure] = field(default_factory=list)
    wrong: list[gateway_pb.PredictResponse] = field(default_factory=list)
    versions: Counter[str] = field(default_factory=Counter)
    degradations: Counter[str] = field(default_factory=Counter)

    async def call(self, caller: int) -> None:
        """Ask without an end."""
        for number in itertools.count(caller):
            if not await self.ask(number % 10):
                await asyncio.sleep(BACKOFF_S)

    async def ask(self, number: int) -> bool:
        """Ask for one rider, and return whether there was an answer."""
        request = self.own.request(self.endpoint, {"rider_id": [f"r{number}"]})
        try:
            self._take(number, await self.own.mesh.gateway.Predict(request, timeout=self.timeout_s))
        except grpc.aio.AioRpcError as error:
            self.failures.append(failure_of(error))
            return False
        return True

    async def offer(self, rate: float) -> None:
        """Ask so many times a second without an end, whether there are answers or not."""
        under_way: set[asyncio.Task[bool]] = set()
        start = time.monotonic()
        try:
            for number in itertools.count():
                # What is late is made up for.
                await asyncio.sleep(max(0.0, start + number / rate - time.monotonic()))
                task = asyncio.create_task(self.ask(number % 10))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
        finally:
            # Whoever leaves hears of his last calls: they count, too.
            await asyncio.gather(*under_way)

    def _take(self, number: int, answer: gateway_pb.PredictResponse) -> None:
        version = answer.provenance.version
        if answer.row_errors or values(answer.outputs[0]) != [10.0 * number * int(version[0])]:
            self.wrong.append(answer)
        self.versions[version] += 1
        for each in answer.provenance.degradations:
            self.degradations[DegradationReason.Name(each.reason)] += 1
        self.answered += 1

    async def more(self, count: int = 200) -> None:
        """Wait for more answers."""
        enough = self.answered + count

        async def answered() -> bool:
            return self.answered >= enough

        await eventually(answered, f"{count} more answers; failed: {Counter(each.reason for each in self.failures)}")

    def flawless(self) -> None:
        """Assert that every call was answered, and rightly."""
        found = Counter((each.reason, each.message) for each in self.failures)
        assert not found, found
        assert not self.wrong


@asynccontextmanager
async def traffic(own: Sandbox, endpoint: str, *, timeout_s: float = 5.0) -> AsyncIterator[Traffic]:
    """Call for the time of the context; there have been answers before it is entered."""
    made = Traffic(own, endpoint, timeout_s)
    callers = [asyncio.create_task(made.call(caller)) for caller in range(CALLERS)]
    try:
        await made.more()
        yield made
    finally:
        for caller in callers:
            caller.cancel()
        await asyncio.gather(*callers, return_exceptions=True)
