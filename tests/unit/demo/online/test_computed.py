"""Which runtime computed which rows."""

from __future__ import annotations

from deploy.demo.flight_delay.online.computed import Computed, RuntimeRows, computed, count
from predictmesh.gateway.v1.provenance_pb2 import Degradation, DegradationReason, Provenance

FAILED = DegradationReason.DEGRADATION_REASON_RUNTIME_FAILED
SLOW = DegradationReason.DEGRADATION_REASON_RUNTIME_SLOW
ABSENT = DegradationReason.DEGRADATION_REASON_FEATURE_ABSENT


def test_a_row_that_another_runtime_took_over_says_why() -> None:
    """Only reasons of runtimes count, each for its own rows."""
    degradations = [
        Degradation(reason=ABSENT, subject="plane"),
        Degradation(reason=FAILED, subject="triton", rows=[0]),
        Degradation(reason=SLOW, subject="triton", rows=[2]),
    ]
    made = Provenance(runtime="onnx", degradations=degradations)
    assert [Computed("onnx", "RUNTIME_FAILED"), Computed("onnx"), Computed("onnx", "RUNTIME_SLOW")] == computed(made, 3)


def test_no_rows_means_all_of_them() -> None:
    """As everywhere in a provenance."""
    made = Provenance(runtime="onnx", degradations=[Degradation(reason=FAILED, subject="triton")])
    assert [Computed("onnx", "RUNTIME_FAILED")] * 2 == computed(made, 2)


def test_rows_are_counted_by_runtime_and_reason() -> None:
    """The runtime of first choice comes first, whatever it is named."""
    rows = [Computed("triton")] * 5 + [Computed("onnx", "RUNTIME_SLOW")] + [Computed("onnx", "RUNTIME_FAILED")] * 2
    expected = RuntimeRows("triton", 5, {}), RuntimeRows("onnx", 3, {"RUNTIME_FAILED": 2, "RUNTIME_SLOW": 1})
    assert expected == count(rows)
    assert () == count([])
