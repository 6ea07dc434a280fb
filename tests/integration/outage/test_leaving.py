"""A caller who leaves takes along what is done for nobody else, through every process down to the store and the runtime."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.scripted_models import scalar, scripted_models
from tests.support.waiting import eventually, eventually_answers
from tests.worlds.parts import Part, Parts
from tests.worlds.resources import values
from tests.worlds.sandbox import Sandbox

ESTABLISHED = "01"
# From the caller's end to the last process. The quickest of a few counts: others may take the machine for some of them.
SOON_S = 0.05
TRIES = 5


def unread(port: int) -> int:
    """How many open connections to a port of this machine have sent what nobody has read."""
    # Local address, remote address, state, and bytes unsent and unread; there may be thousands of others.
    at_port = re.compile(rf":{port:04X} [0-9A-F]+:[0-9A-F]+ {ESTABLISHED} [0-9A-F]+:([0-9A-F]+) ")
    return sum(1 for waiting in at_port.findall(Path("/proc/net/tcp").read_text()) if int(waiting, 16))


def cancelled(replicas: list[Part]) -> int:
    """How many reads of features have been cancelled at the replicas."""
    count = re.compile(r'_count{[^}]*rpc_method="GetFeatures",rpc_status_code="CANCELLED"[^}]*} (\d+)')
    return sum(int(found) for replica in replicas for found in count.findall(replica.metrics()))


async def left(call: asyncio.Task[object], begun: Callable[[], bool], ended: Callable[[], bool]) -> float:
    """Leave once the call has `begun` where it hangs, and return the seconds until it has `ended` there."""
    await eventually(begun)
    since = time.monotonic()
    call.cancel()
    await eventually(ended)
    return time.monotonic() - since


async def test_while_the_store_hangs(own: Sandbox, whole: Parts) -> None:
    """His command's connection is closed, as there is no other way to take it back."""
    took_s = []
    for number in range(1, TRIES + 1):
        before = await asyncio.to_thread(cancelled, whole.features)

        async def ended(before: int = before) -> bool:
            return await asyncio.to_thread(cancelled, whole.features) > before

        keys = {"rider_id": [f"r{number}"]}
        with whole.store.hanging():
            call = asyncio.create_task(own.predict("ride", keys))
            reached, gone = (lambda: unread(whole.store.port) > 0), (lambda: unread(whole.store.port) == 0)
            took_s.append(await left(call, reached, gone))
            # And it was not that the store was given up for its own sake.
            await eventually_answers(ended)
        assert [10.0 * number] == values((await own.predict("ride", keys)).outputs[0])
    assert min(took_s) <= SOON_S, took_s


async def test_while_the_runtime_hangs(own: Sandbox) -> None:
    """His call at the server that computes the version is cancelled."""
    async with scripted_models() as server:
        model = server.add("slow", lambda inputs: {"y": inputs["x"] * 2})
        await own.model("slow")
        await own.register_at(server.target("slow"), "slow", "1.0.0", scalar(), {"x": ["request:x"]})
        await own.until_runtime("slow", "1.0.0", processes=2)
        await own.endpoint("slow", "slow", version="1.0.0")
        took_s = []
        for number in range(1, TRIES + 1):
            with model.hanging():
                call = asyncio.create_task(own.predict("slow", {}, {"x": [1.0]}))
                took_s.append(await left(call, lambda: model.waiting > 0, lambda: model.waiting == 0))
            assert model.cancelled == number
            assert [6.0] == values((await own.predict("slow", {}, {"x": [3.0]})).outputs[0])
        assert min(took_s) <= SOON_S, took_s
