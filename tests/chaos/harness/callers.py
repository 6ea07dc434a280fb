"""Predictions at a rate that does not wait for answers, drawn from a seed; each answer is checked."""

from __future__ import annotations

import asyncio
import json
import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import grpc

from predictmesh.gateway.v1 import prediction_service_pb2 as pb
from tests.chaos.harness.answers import Question, degradations_of, fault_in
from tests.chaos.harness.history import Call, Ending, History
from tests.chaos.harness.ledger import RIDERS, Ledger
from tests.worlds.failures import failure_of
from tests.worlds.resources import tensor

if TYPE_CHECKING:
    from predictmesh.gateway.v1.prediction_service_pb2_grpc import PredictionServiceAsyncStub

PLAIN, LADDERED = "plain", "laddered"
DEADLINES_S = (1.0, 1.5, 2.0)
# The fraction of callers who leave, and how soon they do.
IMPATIENT = 0.05
PATIENCE_S = 0.02
# The fraction of callers whose calls are urgent, and what these say.
URGENT = 0.2
_SAYS_URGENT = (("x-priority", "high"),)
# As an application would call: all replicas in turn that say that they are ready, and soon again one that was away.
_CONFIG = {"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}}
OPTIONS = (
    ("grpc.service_config", json.dumps(_CONFIG)),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 500),
)
# Most calls have one row.
ROWS = (1, 1, 1, 1, 1, 1, 2, 8)


@dataclass(frozen=True)
class Draw:
    """One call as it was drawn: everything about it but what the answer must be."""

    endpoint: str
    riders: tuple[int, ...]
    deadline_s: float
    patience_s: float | None
    urgent: bool


def drawn(random: random.Random, impatient: float = IMPATIENT) -> Draw:
    """Draw a call."""
    return Draw(
        endpoint=LADDERED if random.random() < 0.3 else PLAIN,
        riders=tuple(random.sample(range(RIDERS), random.choice(ROWS))),
        deadline_s=random.choice(DEADLINES_S),
        patience_s=random.uniform(0, PATIENCE_S) if random.random() < impatient else None,
        urgent=random.random() < URGENT,
    )


@dataclass
class Callers:
    """Calls `rate` times a second on average, whatever becomes of the calls before. `namespace` holds the endpoints.

    The fraction `impatient` of the callers leave before they are answered.
    """

    stub: PredictionServiceAsyncStub
    namespace: str
    ledger: Ledger
    history: History
    random: random.Random
    rate: float
    impatient: float = IMPATIENT
    _under_way: set[asyncio.Task[None]] = field(default_factory=set)

    async def run(self) -> None:
        """Call until cancelled."""
        due = time.monotonic()
        while True:
            due += self.random.expovariate(self.rate)
            await asyncio.sleep(max(0, due - time.monotonic()))
            task = asyncio.create_task(self._ask(drawn(self.random, self.impatient)))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def answered(self) -> None:
        """Wait until no call is under way."""
        while self._under_way:
            await asyncio.gather(*self._under_way)

    async def _ask(self, draw: Draw) -> None:
        question = Question(draw.riders, [self.ledger.acknowledged[rider] for rider in draw.riders])
        request = pb.PredictRequest(
            endpoint=f"{self.namespace}/{draw.endpoint}",
            entities=[tensor("rider_id", [f"r{rider}" for rider in draw.riders])],
        )
        started = time.monotonic()
        metadata = _SAYS_URGENT if draw.urgent else ()
        call = self.stub.Predict(request, timeout=draw.deadline_s, metadata=metadata)
        if draw.patience_s is not None:
            asyncio.get_running_loop().call_later(draw.patience_s, call.cancel)
        try:
            answer = await call
        except grpc.aio.AioRpcError as error:
            self._note(draw, started, Ending.FAILED, failure=failure_of(error))
        except asyncio.CancelledError:
            if not call.cancelled():
                raise
            self._note(draw, started, Ending.LEFT)
        else:
            wrong = fault_in(question, answer, self.ledger)
            self._note(draw, started, Ending.ANSWERED, wrong=wrong, degradations=degradations_of(answer))

    def _note(self, draw: Draw, started: float, ending: Ending, **parts: object) -> None:
        now = time.monotonic()
        self.history.note(Call(draw.endpoint, started, now, ending, urgent=draw.urgent, **parts))  # type: ignore[arg-type]
