from __future__ import annotations

from pathlib import Path

import tritonclient.grpc.aio as triton
from prometheus_client import REGISTRY

from predictmesh.model.v1 import runtime_pb2
from tests.support.model_process import model_process, ones, states
from tests.support.onnx_models import linear

VERSION = {"model": "m", "version": "1.0.0"}
LABELS = {**VERSION, "runtime": "onnx"}


async def test_counters_are_collected_under_their_names(tmp_path: Path) -> None:
    """Calls, rows, batches by size and states; and nothing is left behind when the service ends."""
    async with model_process(tmp_path) as process:
        model = linear()
        process.upload(model)
        process.publish(model.version())
        await process.settled(lambda s: states(s) == {"m@1.0.0": runtime_pb2.RUNTIME_STATE_READY})
        async with triton.InferenceServerClient(process.address) as client:
            for rows in (1, 3, 3):
                await client.infer("m", [ones(rows)])
        value = REGISTRY.get_sample_value
        assert 3 == value("predictmesh_model_calls_total", VERSION)
        assert 7 == value("predictmesh_model_rows_total", LABELS)
        assert 1 == value("predictmesh_model_batch_rows_bucket", {**LABELS, "le": "2.0"})
        assert 3 == value("predictmesh_model_batch_rows_bucket", {**LABELS, "le": "+Inf"})
        assert 0 == value("predictmesh_model_rows_in_flight", VERSION)
        assert 0 == value("predictmesh_model_queue_rows", VERSION)
        assert 1 == value("predictmesh_model_breaker_state", {**LABELS, "state": "closed"})
        assert (value("predictmesh_model_batch_fixed_cost_seconds", LABELS) or 0) > 0
        assert 1 == value("predictmesh_model_state", {**LABELS, "state": "ready"})
        assert 0 == value("predictmesh_model_state", {**LABELS, "state": "failed"})
    assert REGISTRY.get_sample_value("predictmesh_model_calls_total", VERSION) is None
