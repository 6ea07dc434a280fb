"""Who is let in, who is refused, and what the refused are told; over gRPC, over a stream of calls, and in process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from prometheus_client import REGISTRY

from predictmesh.registry.v1 import registry_service_pb2 as registry_pb
from services.mesh.admission.gate import Gate
from services.mesh.admission.limit import AdaptiveLimit
from services.mesh.admission.priority import PRIORITY, Priority
from services.mesh.errors import Code, MeshError, Reason
from tests.support.probe import World, calling, new_probe, server
from tests.support.waiting import eventually

SERVICE = "predictmesh.registry.v1.RegistryService"
APPLY = f"/{SERVICE}/Apply"
# What a gate of limit 4 lets in: half of it, all of it, and a quarter more.
ROOM = {"low": 2, "normal": 4, "high": 5}


class Held:
    """Calls that are under way until they are told to go on."""

    def __init__(self) -> None:
        self.probe = new_probe()
        self.probe.act = self._act
        self.gate = Gate(AdaptiveLimit(4))
        self.gates: Mapping[str, Gate] = {APPLY: self.gate}
        self._begun = asyncio.Semaphore(0)
        self._go_on = asyncio.Event()

    async def _act(self, request: Any, context: Any) -> None:
        self._begun.release()
        await self._go_on.wait()

    @asynccontextmanager
    async def under_way(self, stub: Any, calls: int, priority: str = "high") -> AsyncIterator[None]:
        """Have so many calls under way for the time of the context; all are answered at its end."""
        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            for _ in range(calls):
                group.create_task(apply(stub, priority))
                await self._begun.acquire()
            yield
            self._go_on.set()


async def apply(stub: Any, priority: str | None = None, **options: Any) -> Any:
    """Make one call."""
    metadata = [] if priority is None else [(PRIORITY, priority)]
    return await stub.Apply(registry_pb.ApplyRequest(), timeout=30, metadata=metadata, **options)


@pytest.fixture(params=["local", "grpc", "exchange"])
def world(request: pytest.FixtureRequest) -> World:
    """Each way to make a call."""
    found: World = request.param
    return found


@pytest.mark.parametrize("priority", ROOM)
async def test_urgent_calls_are_let_in_for_longest(world: World, priority: str) -> None:
    """As many are under way as there is room for at the priority; the next is refused, and told when to come back."""
    held = Held()
    async with calling(world, held.probe, gates=held.gates) as stub, held.under_way(stub, ROOM[priority], priority):
        with pytest.raises(MeshError) as refused:
            await apply(stub, priority)
        assert held.gate.in_flight == ROOM[priority]
    error = refused.value
    assert (Code.RESOURCE_EXHAUSTED, Reason.OVERLOADED) == (error.code, error.reason)
    assert error.retry_after_s is not None
    assert 0.1 <= error.retry_after_s <= 2


async def test_calls_that_say_nothing_are_normal(world: World) -> None:
    """Without the metadata a call has the room of a normal one."""
    held = Held()
    async with calling(world, held.probe, gates=held.gates) as stub, held.under_way(stub, ROOM["normal"]):
        with pytest.raises(MeshError) as refused:
            await apply(stub)
    assert refused.value.reason is Reason.OVERLOADED


@pytest.mark.parametrize("under_way", [0, 5])
async def test_other_priorities_are_invalid(world: World, under_way: int) -> None:
    """What is no priority is the caller's mistake, and he is told so, whether or not there is room."""
    held = Held()
    async with calling(world, held.probe, gates=held.gates) as stub, held.under_way(stub, under_way):
        with pytest.raises(MeshError) as error:
            await apply(stub, "urgent")
    assert (Code.INVALID_ARGUMENT, [PRIORITY]) == (error.value.code, [v.field for v in error.value.violations])


async def test_there_is_room_again_when_a_call_ends(world: World) -> None:
    """Calls that are answered and calls that are given up leave their room to others."""
    held = Held()
    async with calling(world, held.probe, gates=held.gates) as stub:
        async with held.under_way(stub, 4):
            caller = asyncio.create_task(apply(stub, "high"))
            await eventually(lambda: held.gate.in_flight == 5)
            caller.cancel()
            await eventually(lambda: held.gate.in_flight == 4)
        assert held.gate.in_flight == 0
        assert (await apply(stub, "low")).revision == 1


async def test_a_refused_call_is_not_read() -> None:
    """The refusal comes before the message: one that cannot be parsed, and is large, is not looked at."""
    held = Held()
    async with server(held.probe, gates=held.gates) as serving, grpc.aio.insecure_channel(serving.address) as channel:
        for _ in range(5):
            held.gate.admit(Priority.HIGH).__enter__()
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(APPLY, None, None)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await call(b"\xff" * 1_000_000, timeout=30, metadata=[("x-request-id", "mine")])
    status = rpc_status.from_call(error.value)  # type: ignore[arg-type]  # it has the three methods that are read
    assert status is not None
    assert grpc.StatusCode.RESOURCE_EXHAUSTED is error.value.code()
    assert [error_details_pb2.ErrorInfo.DESCRIPTOR.full_name, error_details_pb2.RetryInfo.DESCRIPTOR.full_name] == [
        detail.TypeName() for detail in status.details
    ]
    assert ("x-request-id", "mine") in tuple(error.value.trailing_metadata() or ())


def counted(name: str, **labels: str) -> float:
    """Return what a metric is at."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def test_refusals_are_counted_like_other_failures(world: World) -> None:
    """Each is in the metrics of calls once, by its code and its reason, and in those of the gate by priority."""
    metrics = [
        ("predictmesh_shed_total", {"priority": "low"}),
        ("predictmesh_rpc_errors_total", {"service": SERVICE, "rpc_method": "Apply", "reason": "OVERLOADED"}),
        (
            "rpc_server_call_duration_seconds_count",
            {"service": SERVICE, "rpc_method": "Apply", "rpc_status_code": "RESOURCE_EXHAUSTED"},
        ),
    ]
    held = Held()
    before = [counted(name, **labels) for name, labels in metrics]
    async with calling(world, held.probe, gates=held.gates) as stub, held.under_way(stub, 3):
        assert counted("predictmesh_admission_in_flight") == 3
        assert counted("predictmesh_admission_limit") == 4
        with pytest.raises(MeshError):
            await apply(stub, "low")
    assert [1, 1, 1] == [counted(name, **labels) - was for (name, labels), was in zip(metrics, before, strict=True)]
