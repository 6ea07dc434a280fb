"""What a fleet serves before any fault: one model, an endpoint of it alone, and one with a fallback ladder."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from predictmesh.registry.v1.endpoint_pb2 import Fallback, StaticAnswer
from tests.chaos.harness.callers import LADDERED, PLAIN
from tests.chaos.harness.fleet import Fleet
from tests.chaos.harness.ledger import DEFAULT, RIDERS, STATIC, Ledger
from tests.support.onnx_models import linear
from tests.worlds.mesh import connect
from tests.worlds.resources import field, tensor, view
from tests.worlds.sandbox import Sandbox

DAY_MS = 86_400_000


@dataclass(frozen=True)
class Ground:
    """What is defined and written in a fleet before any fault."""

    own: Sandbox
    ledger: Ledger

    @property
    def namespace(self) -> str:
        """Where the definitions are."""
        return self.own.namespace


@asynccontextmanager
async def prepared(made: Fleet, runtimes: tuple[str, ...] = ("onnx",)) -> AsyncIterator[Ground]:
    """Define a model that answers what is stored for a rider, with an endpoint of it alone and one with a ladder."""
    async with connect(made.addresses) as mesh:
        own, ledger = Sandbox(mesh), Ledger()
        stored = view("rider", field("value", default=DEFAULT), entity="rider", keys={"rider_id": "STRING"})
        stored.ttl_ms = DAY_MS
        await own.view(stored)
        await own.model("echo")
        await own.register("echo", "1.0.0", linear(1.0, width=1), {"x": ["rider:value"]}, runtimes=runtimes)
        await own.until_runtime("echo", "1.0.0", processes=len(made.models))
        await own.endpoint(PLAIN, "echo", version="1.0.0")
        static = Fallback(answer=StaticAnswer(outputs=[tensor("y", [STATIC])]))
        ladder = [Fallback(last_answer_max_age_ms=600_000), static]
        await own.endpoint(LADDERED, "echo", version="1.0.0", fallbacks=ladder)
        keys = {"rider_id": [f"r{rider}" for rider in range(RIDERS)]}
        first = {"value": [Ledger.value(rider, 0) for rider in range(RIDERS)]}
        await own.write("rider", keys, first, at_us=[ledger.event_us(0)] * RIDERS)
        yield Ground(own, ledger)
