"""A caller who leaves takes along what is done for nobody else, through every process down to the store and the runtime."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from tests.support.scripted_models import scalar, scripted_models
from tests.support.waiting import eventually, eventually_answers
from tests.worlds.parts import Part, Parts
from tests.worlds.resources import values
from tests.worlds.sandbox import Sandbox

ESTABLISHED = "01"


def unread(port: int) -> int:
    """How many open connections to a port of this machine have sent what nobody has read."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    at_port = [line for line in lines if line[1].endswith(f":{port:04X}") and line[3] == ESTABLISHED]
    return sum(1 for line in at_port if int(line[4].partition(":")[2], 16))


def cancelled(replicas: list[Part]) -> int:
    """How many reads of features have been cancelled at the replicas."""
    count = re.compile(r'_count{[^}]*rpc_method="GetFeatures",rpc_status_code="CANCELLED"[^}]*} (\d+)')
    return sum(int(found) for replica in replicas for found in count.findall(replica.metrics()))


async def test_while_the_store_hangs(own: Sandbox, whole: Parts) -> None:
    """His command's connection is closed, as there is no other way to take it back."""
    before = await asyncio.to_thread(cancelled, whole.features)

    async def ended() -> bool:
        return await asyncio.to_thread(cancelled, whole.features) > before

    with whole.store.hanging():
        call = asyncio.create_task(own.predict("ride", {"rider_id": ["r3"]}))
        await eventually(lambda: unread(whole.store.port) > 0)
        call.cancel()
        await eventually(lambda: unread(whole.store.port) == 0)
        # And it was not that the store was given up for its own sake.
        await eventually_answers(ended)
    assert [30.0] == values((await own.predict("ride", {"rider_id": ["r3"]})).outputs[0])


async def test_while_the_runtime_hangs(own: Sandbox) -> None:
    """His call at the server that computes the version is cancelled."""
    async with scripted_models() as server:
        model = server.add("slow", lambda inputs: {"y": inputs["x"] * 2})
        await own.model("slow")
        await own.register_at(server.target("slow"), "slow", "1.0.0", scalar(), {"x": ["request:x"]})
        await own.until_runtime("slow", "1.0.0", processes=2)
        await own.endpoint("slow", "slow", version="1.0.0")
        with model.hanging():
            call = asyncio.create_task(own.predict("slow", {}, {"x": [1.0]}))
            await eventually(lambda: model.waiting > 0)
            call.cancel()
            await eventually(lambda: model.cancelled == 1)
        assert [6.0] == values((await own.predict("slow", {}, {"x": [3.0]})).outputs[0])
