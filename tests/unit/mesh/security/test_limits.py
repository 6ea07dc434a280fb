"""What one caller can take of a server is bounded: metadata, connections, messages."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest

from predictmesh.registry.v1 import registry_service_pb2 as registry_pb
from services.mesh.errors import Code, MeshError
from tests.support.exchanging import apply
from tests.support.probe import new_probe, remote, server
from tests.support.waiting import eventually_answers

APPLY = "/predictmesh.registry.v1.RegistryService/Apply"


async def answers(address: str, *, timeout: float = 5) -> bool:
    """Whether a caller that comes anew is answered."""
    async with grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        call: Any = channel.unary_unary(APPLY)
        try:
            await call(b"", timeout=timeout)
        except grpc.aio.AioRpcError:
            return False
        return True


@pytest.mark.parametrize(("size", "taken"), [(12_000, True), (20_000, False), (2_000_000, False)])
async def test_metadata(size: int, taken: bool) -> None:
    """A token of some kilobytes is taken; more is refused before anything is done, and others are answered."""
    calls = 0

    async def count(request: Any, context: Any) -> None:
        nonlocal calls
        calls += 1

    probe = new_probe()
    probe.act = count
    async with server(probe) as serving, remote(serving.address) as stub:
        large = (("authorization", "x" * size),)
        if taken:
            assert 1 == (await stub.Apply(registry_pb.ApplyRequest(), metadata=large, timeout=10)).revision
        else:
            with pytest.raises(MeshError) as error:
                await stub.Apply(registry_pb.ApplyRequest(), metadata=large, timeout=10)
            assert error.value.code in {Code.RESOURCE_EXHAUSTED, Code.UNAVAILABLE, Code.INTERNAL}
        assert int(taken) == calls
        assert 5 == await apply(stub)


async def test_connections() -> None:
    """No more than so many are taken; who has one keeps it, and another is taken when one goes."""
    async with AsyncExitStack() as others, server(new_probe(), max_connections=2) as serving:
        kept: list[Any] = []
        for _ in range(2):
            channel = await others.enter_async_context(
                grpc.aio.insecure_channel(serving.address, options=[("grpc.use_local_subchannel_pool", 1)])
            )
            kept.append(channel.unary_unary(APPLY))
            await kept[-1](b"", timeout=10)
        assert not await answers(serving.address, timeout=1)
        for call in kept:
            await call(b"", timeout=10)
        await others.aclose()
        await eventually_answers(lambda: answers(serving.address))
