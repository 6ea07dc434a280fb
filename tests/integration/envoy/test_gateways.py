"""`predictmesh envoy` before two gateways, of which one is killed or hangs."""

from __future__ import annotations

import asyncio
import signal

from tests.integration.envoy.conftest import Edge, World
from tests.integration.envoy.requests import RIDER, path
from tests.worlds.parts import Part
from tests.worlds.sandbox import Sandbox, eventually

CLUSTER = "gateway"
# A gateway that starts takes its time on a machine with much else to do.
BACK_LIMIT_S = 60.0


async def answered(edge: Edge, own: Sandbox) -> None:
    """Ask several times at once; each must be answered."""
    # The time that it has is not what these tests are about.
    answers = await asyncio.gather(*(edge.rest.post(path(own), RIDER, grpc_timeout="20S") for _ in range(10)))
    assert [] == [each.body for each in answers if each.status != 200]


async def all_well(edge: Edge) -> bool:
    """Whether Envoy has nothing against any gateway."""
    return not any(edge.proxy.health(CLUSTER).values())


async def until_both_answer(edge: Edge, own: Sandbox, gateways: list[Part]) -> None:
    """Wait until each gateway has answered a call that came now or later; none may fail meanwhile."""
    before = [await each.calls("Predict") for each in gateways]

    async def by_each() -> bool:
        await answered(edge, own)
        return all([await each.calls("Predict") > first for each, first in zip(gateways, before, strict=True)])

    await eventually(by_each, "an answer of each gateway", BACK_LIMIT_S)


async def test_gateways_share_the_calls(edge: Edge, world: World, own: Sandbox) -> None:
    """Whoever has fewer of them under way gets the next."""
    await until_both_answer(edge, own, world.gateways)


async def test_killed_gateway_costs_no_later_call(edge: Edge, world: World, own: Sandbox) -> None:
    """What it has not seen is asked of the other one, until it is left alone; it is called again when it is there again."""
    gone = world.gateways[0]
    # Where Envoy holds no gateway for well it calls every one, also one that has only just started.
    await eventually(lambda: all_well(edge), "both gateways well")
    gone.kill()
    for _ in range(3):
        await answered(edge, own)

    async def left() -> bool:
        return bool(edge.proxy.health(CLUSTER)[gone.grpc_port])

    await eventually(left, "the gateway left alone")
    await answered(edge, own)
    gone.start()
    await until_both_answer(edge, own, world.gateways)


async def test_hanging_gateway_is_left_alone(edge: Edge, world: World, own: Sandbox) -> None:
    """It accepts connections and answers nothing, not even what its health is."""
    hanging = world.gateways[1]
    hanging.send(signal.SIGSTOP)
    try:

        async def unwell() -> bool:
            return "failed_active_health_check" in edge.proxy.health(CLUSTER)[hanging.grpc_port]

        await eventually(unwell, "an unwell gateway")
        await answered(edge, own)
    finally:
        hanging.send(signal.SIGCONT)
    await until_both_answer(edge, own, world.gateways)
