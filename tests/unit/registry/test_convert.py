"""Definitions as messages."""

from __future__ import annotations

import pytest

from predictmesh.registry.v1.model_pb2 import MetricGate as PbMetricGate
from services.registry.convert import decode, encode
from services.registry.definitions import MetricGate


@pytest.mark.parametrize(
    "gate", [MetricGate("bias", min=0.0), MetricGate("bias", max=0.0), MetricGate("bias", 0.5, 1.0)]
)
def test_a_bound_of_zero_is_a_bound(gate: MetricGate) -> None:
    """Where a number is optional, 0 is not the same as none."""
    message = encode(gate, PbMetricGate())
    assert (gate.min is not None, gate.max is not None) == (message.HasField("min"), message.HasField("max"))
    assert gate == decode(message, MetricGate)
