"""How many rows a second StreamFeatures takes: every batch acknowledged, four FP32 a row."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import grpc
import numpy as np

from predictmesh.features.v1.features_service_pb2 import FeatureBatch, StreamFeaturesRequest
from predictmesh.features.v1.features_service_pb2_grpc import FeatureServiceStub
from predictmesh.types.v1.tensor_pb2 import Tensor

BATCH_ROWS = 1000


async def rows_per_second(target: str, batches: int) -> float:
    """Stream `batches` of BATCH_ROWS rows to the view `rider` and return the rate up to the last acknowledgement."""
    requests = _requests(batches)
    async with grpc.aio.insecure_channel(target) as channel:
        start = time.perf_counter()
        acknowledged = 0
        async for response in FeatureServiceStub(channel).StreamFeatures(_sent(requests), timeout=60):
            if response.rejected:
                raise RuntimeError(f"rows were rejected: {response.rejected[0]}")
            acknowledged = response.acknowledged_sequence
        elapsed = time.perf_counter() - start
    if acknowledged != batches:
        raise RuntimeError(f"{acknowledged} of {batches} batches were acknowledged")
    return batches * BATCH_ROWS / elapsed


def _requests(batches: int) -> list[StreamFeaturesRequest]:
    random = np.random.default_rng(3)
    # Keys of their own: the workload's answers must stay as they are.
    keys = [Tensor(name="rider", strings=[f"written-{key}" for key in range(BATCH_ROWS)])]
    return [
        StreamFeaturesRequest(
            sequence=number,
            batch=FeatureBatch(
                view="rider",
                keys=keys,
                values=[Tensor(name=f"f{field}", floats=random.normal(size=BATCH_ROWS)) for field in range(4)],
                event_time_us=[time.time_ns() // 1000],
            ),
        )
        for number in range(1, batches + 1)
    ]


async def _sent(requests: list[StreamFeaturesRequest]) -> AsyncIterator[StreamFeaturesRequest]:
    for request in requests:
        yield request
