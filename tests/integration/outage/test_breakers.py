"""A service that is gone, or hangs, is not asked any more by anybody's request, and is found when it is back."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from typing import Any

import grpc
import pytest
from prometheus_client.parser import text_string_to_metric_families

from services.cli.fetch import fetch_json
from tests.integration.outage.test_replicas import REASONS, replicas
from tests.worlds.failures import failure_of
from tests.worlds.parts import Part, Parts
from tests.worlds.resources import values
from tests.worlds.sandbox import TIMEOUT_S, Sandbox, eventually

METHODS = {"features": "GetFeatures", "model": "ModelInfer"}
SERVICES = pytest.mark.parametrize("service", METHODS)


async def states(whole: Parts, service: str) -> set[str]:
    """The states of the gateway's breakers of a service."""
    address = f"127.0.0.1:{whole.gateway.http_port}"
    _, told = await asyncio.to_thread(fetch_json, address, "/statusz", 5.0)
    breakers: Any = told["breakers"]
    assert {f"ipv4:{part.address}" for part in replicas(whole, service)} == breakers[service].keys()
    return set(breakers[service].values())


async def measured(whole: Parts) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """The gateway's metrics."""
    text = await asyncio.to_thread(whole.gateway.metrics)
    families = text_string_to_metric_families(text)
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


async def attempts(whole: Parts, service: str) -> float:
    """How many calls the gateway has made to a service."""
    return sum(
        value
        for (name, labels), value in (await measured(whole)).items()
        if name == "rpc_client_call_duration_seconds_count" and METHODS[service] in dict(labels)["rpc_method"]
    )


async def reasons(own: Sandbox, count: int, timeout_s: float = TIMEOUT_S) -> Counter[str]:
    """Ask so many times, a few at a time, and count why no answer came; "" is for the answers."""

    async def ask() -> str:
        try:
            answer = await own.mesh.gateway.Predict(own.request("ride", {"rider_id": ["r7"]}), timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            return failure_of(error).reason or error.code().name
        assert [70.0] == values(answer.outputs[0])
        return ""

    found: Counter[str] = Counter()
    for _ in range(0, count, 4):
        found.update(await asyncio.gather(*(ask() for _ in range(4))))
    return found


async def until_open(own: Sandbox, whole: Parts, service: str) -> None:
    """Ask until nobody is asked."""

    async def is_open() -> bool:
        assert (await reasons(own, 8, timeout_s=0.4)).keys() <= REASONS | {""}
        return "closed" not in await states(whole, service)

    await eventually(is_open, "open breakers")


async def until_well(own: Sandbox, whole: Parts, service: str) -> None:
    """Wait, without asking, until everybody is asked again; then no call fails."""

    async def closed() -> bool:
        return {"closed"} == await states(whole, service)

    await eventually(closed, "closed breakers")
    assert {"": 40} == await reasons(own, 40)


def opened(part: Part) -> frozenset[tuple[str, str]]:
    """The labels of the metrics of a replica's breaker."""
    service = "features" if "features" in part.directory.name else "model"
    return frozenset({"hop": service, "replica": f"ipv4:{part.address}"}.items())


@SERVICES
async def test_a_service_that_is_gone_is_not_called(own: Sandbox, whole: Parts, service: str) -> None:
    """Once its breakers are open no request costs it a call; and it is found without one when it is back."""
    gone = replicas(whole, service)
    for part in gone:
        part.kill()
    await until_open(own, whole, service)
    metrics = await measured(whole)
    for part in gone:
        assert 1 == metrics["predictmesh_breaker_open", opened(part)]
        assert metrics["predictmesh_breaker_opened_total", opened(part)] >= 1
    before = await attempts(whole, service)
    assert {"CIRCUIT_OPEN": 100} == await reasons(own, 100)
    assert before == await attempts(whole, service)
    for part in gone:
        part.start()
    for part in gone:
        await part.until_ready()
    await until_well(own, whole, service)
    assert 0 == (await measured(whole))["predictmesh_breaker_open", opened(gone[0])]


@SERVICES
async def test_a_service_that_hangs_is_not_called(own: Sandbox, whole: Parts, service: str) -> None:
    """Its silence opens the breakers: callers hear so at once, not at their deadlines; and it is found when it goes on."""
    hanging = replicas(whole, service)
    for part in hanging:
        part.send(signal.SIGSTOP)
    try:
        await until_open(own, whole, service)
        assert {"CIRCUIT_OPEN": 100} == await reasons(own, 100)
    finally:
        for part in hanging:
            part.send(signal.SIGCONT)
    await until_well(own, whole, service)
