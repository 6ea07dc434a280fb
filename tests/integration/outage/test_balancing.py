"""Two feature and two model services that are listed by address: which of them is called, and when both are."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest

from tests.worlds.parts import Part, Parts
from tests.worlds.sandbox import Sandbox, eventually
from tests.worlds.traffic import traffic

LIMIT_S = 60.0
SERVICES = [("features", "GetFeatures"), ("model", "ModelInfer")]


def replicas(whole: Parts, service: str) -> list[Part]:
    """The two of a service."""
    return whole.features if service == "features" else whole.models


@asynccontextmanager
async def stopped(part: Part) -> AsyncIterator[None]:
    """Have a process hang for the time of the context: its connections stand, and nobody is answered."""
    part.send(signal.SIGSTOP)
    try:
        yield
    finally:
        part.send(signal.SIGCONT)


async def until_more_calls(part: Part, method: str, count: int = 20) -> None:
    """Wait until a replica has answered so many more calls."""
    before = await part.calls(method)

    async def called() -> bool:
        return await part.calls(method) >= before + count

    await eventually(called, f"{count} more calls of {part.directory.name}", LIMIT_S)


async def test_replicas_share_the_load(own: Sandbox, whole: Parts) -> None:
    """Each replica of each service has its part of the calls."""
    async with traffic(own, "ride") as calls:
        for service, method in SERVICES:
            for replica in replicas(whole, service):
                await until_more_calls(replica, method)
    calls.flawless()


@pytest.mark.parametrize(("service", "method"), SERVICES)
async def test_replica_that_hangs_is_avoided_until_it_answers(
    own: Sandbox, whole: Parts, service: str, method: str
) -> None:
    """Only calls that hang with it may fail, and only for want of time; when it answers again it has its part again."""
    hanging, other = replicas(whole, service)
    async with traffic(own, "ride") as calls:
        async with stopped(hanging):
            await until_more_calls(other, method, 100)
        await until_more_calls(hanging, method)
    assert not calls.wrong
    assert {"DEADLINE_EXCEEDED"} >= {each.code for each in calls.failures}


async def test_slow_answer_is_got_from_another_replica(own: Sandbox, whole: Parts) -> None:
    """When one replica hangs another is asked too, and the answer says so."""
    hedged: list[str] = []

    async def ask() -> None:
        try:
            answer = await own.predict("ride", {"rider_id": ["r1"]})
        except grpc.aio.AioRpcError as error:
            assert grpc.StatusCode.DEADLINE_EXCEEDED is error.code()  # noqa: PT017 - an answer is as well
        else:
            hedged.extend(hop.name for hop in answer.provenance.hops if hop.hedged)

    for _ in range(300):
        await ask()
    async with stopped(whole.models[0]), asyncio.timeout(LIMIT_S):
        while "model" not in hedged:
            await ask()
