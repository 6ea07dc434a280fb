"""What was acknowledged is there after a kill, and nothing counts twice."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from predictmesh.registry.v1 import quality_service_pb2 as pb
from services.mesh.errors import MeshError
from tests.integration.registry.conftest import fill
from tests.support.kept_predictions import came_true, keeping, kept, recording
from tests.support.registry import connected, registry
from tests.support.registry_process import started

BATCH = 20


async def test_acknowledged_outcomes_survive_a_kill(tmp_path: Path) -> None:
    """A registry killed amid outcomes has each that it has answered, and a repeat of all of them counts none again."""
    async with registry(tmp_path) as client:
        await fill(client)
        for first in range(0, 10_000, 1_000):
            names = [str(number) for number in range(first, first + 1_000)]
            await client.quality.RecordPredictions(keeping(*(kept(name, 0.7) for name in names)))
    process, address = await started(tmp_path)
    acknowledged: set[str] = set()
    async with connected(address) as client:

        async def record(caller: int) -> None:
            for first in range(caller * BATCH, 10_000, 4 * BATCH):
                names = [str(number) for number in range(first, first + BATCH)]
                await client.quality.RecordOutcomes(recording(*(came_true(name) for name in names)))
                acknowledged.update(names)
                if len(acknowledged) > 1_000 and process.returncode is None:
                    process.send_signal(signal.SIGKILL)

        with pytest.raises(MeshError):
            await asyncio.gather(*(record(caller) for caller in range(4)))
    await process.wait()
    async with registry(tmp_path) as client:
        request = pb.GetQualityRequest(endpoint="churn")
        found = (await client.quality.GetQuality(request)).versions[0].outcomes
        assert len(acknowledged) <= found <= len(acknowledged) + 4 * BATCH
        again = sorted(acknowledged)
        for first in range(0, len(again), 1_000):
            answer = await client.quality.RecordOutcomes(
                recording(*(came_true(name) for name in again[first : first + 1_000]))
            )
            assert all(result.existed for result in answer.results)
        assert found == (await client.quality.GetQuality(request)).versions[0].outcomes
