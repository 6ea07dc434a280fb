"""Writes that go on through a fault, and the search for those that were acknowledged once it is over."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
import uuid
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import grpc

from predictmesh.features.v1 import features_service_pb2 as features_pb
from predictmesh.features.v1.features_service_pb2_grpc import FeatureServiceStub
from predictmesh.gateway.v1 import prediction_service_pb2 as gateway_pb
from predictmesh.registry.v1 import registry_service_pb2 as registry_pb
from predictmesh.registry.v1.model_pb2 import Model
from predictmesh.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from tests.chaos.harness.callers import OPTIONS, PLAIN
from tests.chaos.harness.ground import Ground
from tests.chaos.harness.history import Call, Ending, History
from tests.chaos.harness.ledger import RIDERS, Ledger
from tests.worlds.failures import failure_of
from tests.worlds.mesh import Addresses
from tests.worlds.resources import tensor
from tests.worlds.sandbox import eventually

if TYPE_CHECKING:
    from predictmesh.features.v1.features_service_pb2_grpc import FeatureServiceAsyncStub
    from predictmesh.registry.v1.registry_service_pb2_grpc import RegistryServiceAsyncStub

DEADLINE_S = 1.0
# A definition is on the disk before it is acknowledged, and others may keep the disk busy.
APPLY_DEADLINE_S = 10.0
# After the trial nothing hurries.
READ_LIMIT_S = 60.0
# Riders that one write is of; each has one writer at a time, so that what is sent later has the later event.
BATCH = 10
WRITE_EVERY_S = 0.05
APPLY_EVERY_S = 0.5
# Definitions that stand at a time: all that every gateway holds would grow with them else.
KEPT = 50


async def _noted(history: History, method: str, call: Awaitable[object]) -> bool:
    """Await a call, note how it ended, and return whether it was acknowledged."""
    started = time.monotonic()
    try:
        await call
    except grpc.aio.AioRpcError as error:
        history.note(Call(method, started, time.monotonic(), Ending.FAILED, failure=failure_of(error)))
        return False
    history.note(Call(method, started, time.monotonic(), Ending.ANSWERED))
    history.acknowledged += 1
    return True


@dataclass
class FeatureWriter:
    """Writes riders of `namespace`/rider over and over, to one replica of the feature service after the other."""

    stub: FeatureServiceAsyncStub
    namespace: str
    ledger: Ledger
    history: History
    random: random.Random

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await asyncio.sleep(self.random.expovariate(1 / WRITE_EVERY_S))
            await self.write(self.random.sample(range(RIDERS), BATCH))

    async def write(self, riders: list[int]) -> bool:
        """Write each of these riders once, and return whether that was acknowledged."""
        writes = self.ledger.next_writes(riders)
        batch = features_pb.FeatureBatch(
            view=f"{self.namespace}/rider",
            keys=[tensor("rider_id", [f"r{rider}" for rider in riders])],
            values=[tensor("value", [Ledger.value(*pair) for pair in zip(riders, writes, strict=True)])],
            event_time_us=[self.ledger.event_us(write) for write in writes],
        )
        request = features_pb.WriteFeaturesRequest(batch=batch)
        written = await _noted(self.history, "write", self.stub.WriteFeatures(request, timeout=DEADLINE_S))
        if written:
            self.ledger.acknowledge(riders, writes)
        return written


@dataclass
class Definer:
    """Applies a model without versions now and then, each of a name of its own, and deletes the oldest of KEPT again."""

    stub: RegistryServiceAsyncStub
    namespace: str
    history: History
    acknowledged: list[str] = field(default_factory=list)
    _prefix: str = field(default_factory=lambda: f"note-{uuid.uuid4().hex[:8]}")

    async def run(self) -> None:
        """Apply until cancelled."""
        for number in itertools.count():
            name = f"{self.namespace}/{self._prefix}-{number}"
            request = registry_pb.ApplyRequest(resources=[registry_pb.Resource(model=Model(name=name))], actor="chaos")
            if await _noted(self.history, "apply", self.stub.Apply(request, timeout=APPLY_DEADLINE_S)):
                self.acknowledged.append(name)
            if len(self.acknowledged) > KEPT:
                await self._delete(self.acknowledged.pop(0))
            await asyncio.sleep(APPLY_EVERY_S)

    async def _delete(self, name: str) -> None:
        deletion = registry_pb.DeleteRequest(model=name, actor="chaos")
        await _noted(self.history, "apply", self.stub.Delete(deletion, timeout=APPLY_DEADLINE_S))


async def lost_features(ground: Ground) -> list[str]:
    """Read every rider from the store, and return those whose last acknowledged write is not there."""
    riders, ledger = range(RIDERS), ground.ledger
    try:
        answer = await _read(ground, [f"r{rider}" for rider in riders])
    except AssertionError as error:
        return [f"what was written cannot be read: {error}"]
    found = [ledger.write_of(rider, value) for rider, value in zip(riders, answer.outputs[0].floats, strict=True)]
    return [
        f"rider {rider}: write {acknowledged} was acknowledged, {write} is there"
        for rider, acknowledged, write in zip(riders, ledger.acknowledged, found, strict=True)
        if write is None or write < acknowledged
    ]


async def _read(ground: Ground, riders: list[str]) -> gateway_pb.PredictResponse:
    """Ask for riders until nothing of the answer is degraded."""
    found: list[gateway_pb.PredictResponse] = []

    async def read() -> bool:
        try:
            found.append(await ground.own.predict(PLAIN, {"rider_id": riders}, as_of_us=None))
        except grpc.aio.AioRpcError:
            return False
        return not found[-1].provenance.degradations

    await eventually(read, "an undegraded answer after the trial", READ_LIMIT_S)
    return found[-1]


async def lost_definitions(stub: RegistryServiceAsyncStub, definer: Definer) -> list[str]:
    """Return the models that were acknowledged and are not there, and delete the others."""
    request = registry_pb.GetSnapshotRequest()
    snapshot = (await stub.GetSnapshot(request, timeout=READ_LIMIT_S, wait_for_ready=True)).snapshot
    there = {model.name for model in snapshot.models}
    for name in there.intersection(definer.acknowledged):
        await stub.Delete(registry_pb.DeleteRequest(model=name), timeout=READ_LIMIT_S)
    return [f"{name} was acknowledged, and is not defined" for name in definer.acknowledged if name not in there]


@asynccontextmanager
async def writing(ground: Ground, addresses: Addresses, history: History, seed: int) -> AsyncIterator[None]:
    """Write features and definitions for the time of the context; then look for what was acknowledged."""
    async with (
        grpc.aio.insecure_channel(addresses.features, options=OPTIONS) as features,
        grpc.aio.insecure_channel(addresses.registry, options=OPTIONS) as registry,
    ):
        stub = RegistryServiceStub(registry)
        writer = FeatureWriter(
            FeatureServiceStub(features), ground.namespace, ground.ledger, history, random.Random(seed)
        )
        definer = Definer(stub, ground.namespace, history)
        tasks = [asyncio.create_task(each.run()) for each in (writer, definer)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        history.lost += await lost_features(ground)
        history.lost += await lost_definitions(stub, definer)
