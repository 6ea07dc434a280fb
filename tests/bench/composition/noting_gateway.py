"""The gateway, and how long after a failure it takes the next step of a ladder, as metrics: everything else is the same code.

A failure is known when its error is made: when the model service's answer is there, or the circuit breaker refuses. Calls
that may go well elsewhere are made again, after a pause; `since="first"` counts from the failure before that.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

from prometheus_client import Histogram

from services.gateway import predict, server
from services.gateway.clients import ModelClient
from services.gateway.ladder.descent import Ladder
from services.gateway.ladder.merging import Merging
from services.gateway.ladder.steps import Fallback
from services.gateway.prediction import Inference
from services.gateway.server import build
from services.gateway.settings import Settings
from services.mesh.deadline import Deadline
from services.mesh.errors import MeshError
from services.mesh.lifecycle import main
from services.mesh.replicas import Connection
from services.mesh.resilience import Effort
from services.mesh.resilience.hop import Attempt

METRIC = "bench_ladder_step_seconds"
FINENESS = 1.1
"""Ratio of a bucket's edge to the one before it."""
_TAKEN = Histogram(
    METRIC,
    "From the failure of the route's version until the next step is taken.",
    ["step", "since"],
    buckets=[1e-5 * FINENESS**place for place in range(150)],
)
_failures: ContextVar[list[float]] = ContextVar("failures")


class NotingModelClient(ModelClient):
    """Notes when each attempt of a call failed."""

    def __init__(self, replicas: Sequence[Connection[Any]], *, hop: str = "model") -> None:
        super().__init__(replicas, hop=hop)
        call = self.hop.call

        async def noted(attempt: Attempt[Any, Any], deadline: Deadline) -> tuple[Any, Effort]:
            async def each(stub: Any, timeout_s: float) -> Any:
                try:
                    return await attempt(stub, timeout_s)
                except MeshError:
                    _failures.get().append(time.perf_counter())
                    raise

            return await call(each, deadline)

        vars(self.hop)["call"] = noted

    async def infer(self, *arguments: Any, **named: Any) -> Inference:
        """Do the same."""
        failures: list[float] = []
        _failures.set(failures)
        try:
            return await super().infer(*arguments, **named)
        except MeshError as error:
            if failures:
                vars(error)["first_at"] = failures[0]
            raise


class NotingLadder(Ladder):
    """Notes when the step after the route's version is taken."""

    async def _take(self, fallback: Fallback, later: Sequence[Fallback], request: Any, merging: Merging) -> None:
        if len(merging.steps) == 1 and (left := merging.steps[0].left) is not None:
            now, made_at = time.perf_counter(), vars(left)["made_at"]
            _TAKEN.labels(fallback.subject, "last").observe(now - made_at)
            _TAKEN.labels(fallback.subject, "first").observe(now - vars(left).get("first_at", made_at))
        await super()._take(fallback, later, request, merging)


def _noted(error: MeshError, *arguments: Any, **named: Any) -> None:
    _make(error, *arguments, **named)
    vars(error)["made_at"] = time.perf_counter()


_make = MeshError.__init__

if __name__ == "__main__":
    setattr(MeshError, "__init__", _noted)  # noqa: B010 - for the type checker a method is no variable
    vars(server)["ModelClient"] = NotingModelClient
    vars(predict)["Ladder"] = NotingLadder
    main(Settings, build)
