"""A registry that is killed while a release is under way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from predictmesh.registry.v1 import release_service_pb2 as pb
from predictmesh.registry.v1.release_pb2 import (
    RELEASE_STATE_PROMOTED,
    RELEASE_STATE_RUNNING,
)
from services.mesh.errors import MeshError
from tests.integration.registry.releasing import (
    LOOK_S,
    STEPS,
    changes,
    ended,
    fill,
    last,
    report_ready,
    start,
)
from tests.support.fake_gateway import FakeGateway, busy
from tests.support.registry import Client, connected
from tests.support.waiting import eventually_answers
from tests.worlds.parts import Part


@asynccontextmanager
async def a_process(directory: Path, look_s: float) -> AsyncIterator[Part]:
    """A registry as a process, with a release of 1.1.0 under way."""
    settings = {"objects": f"file://{directory}/objects", "release_interval_s": str(look_s)}
    process = Part("registry", directory / "registry", settings)
    process.start()
    try:
        await process.until_ready()
        async with connected(process.address) as client:
            await fill(client)
            await start(client)
        yield process
    finally:
        process.kill()


@asynccontextmanager
async def reborn(process: Part) -> AsyncIterator[Client]:
    """Kill it, start it again, and tell it what is READY, as model processes would."""
    process.kill()
    process.start()
    await process.until_ready()
    async with connected(process.address) as client:

        async def told() -> bool:
            # Channels share connections, and one that has been refused pauses for a while.
            with suppress(MeshError):
                await report_ready(client)
                return True
            return False

        await eventually_answers(told)
        yield client


EACH_STEP_ONCE = [("RUNNING", 0), ("RUNNING", 1), ("RUNNING", 2), ("PROMOTED", 3)]


async def test_a_registry_killed_at_every_step_loses_and_repeats_none(tmp_path: Path) -> None:
    """Each time it goes on where it was: the log has each step once, in order, and the evidence from before."""
    async with a_process(tmp_path, LOOK_S) as process:
        gateway = FakeGateway()
        for step in range(len(STEPS) - 1):
            async with connected(process.address) as client:
                await gateway.serve_once(client)
                before = await evidence(client)
            async with reborn(process) as client:
                assert (await last(client)).step == step
                assert await evidence(client) == before
                await taken_on(client, gateway, step)
        async with reborn(process) as client:
            assert (await last(client)).state == RELEASE_STATE_PROMOTED
            assert [change[:2] for change in changes(await client.events())] == EACH_STEP_ONCE


async def evidence(client: Client) -> list[pb.StepEvidence]:
    """What the release has shown so far."""
    return list((await client.releases.GetRelease(pb.GetReleaseRequest(endpoint="churn"))).steps)


async def taken_on(client: Client, gateway: FakeGateway, step: int) -> None:
    """Serve until the release has left a step."""

    async def left() -> bool:
        release = await last(client)
        if (release.step, release.state) == (step, RELEASE_STATE_RUNNING):
            await gateway.report(client, gateway.serve(release))
            return False
        return True

    await eventually_answers(left)


async def test_kills_at_any_moment(tmp_path: Path) -> None:
    """Amid reports and steps: the gateway just reports again, and the release ends as if nothing had been."""
    async with (
        a_process(tmp_path, look_s=0.005) as process,
        connected(process.address) as told,
        busy(told, FakeGateway()),
    ):
        for _ in range(6):
            async with reborn(process):
                pass
        async with reborn(process) as client:
            assert (await ended(client)).state == RELEASE_STATE_PROMOTED
            assert [change[:2] for change in changes(await client.events())] == EACH_STEP_ONCE
