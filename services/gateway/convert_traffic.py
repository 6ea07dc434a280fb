"""What the gateway counts, as the registry takes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from predictmesh.registry.v1 import traffic_pb2
from predictmesh.types.v1.tensor_pb2 import Tensor
from services.gateway.convert import tensor_of
from services.mesh.timestamps import timestamp_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from services.gateway.agreement import ShadowExample, ShadowTotals
    from services.gateway.target import KeyColumn, Output
    from services.gateway.traffic import ArmTotals


def encode_arm(totals: ArmTotals) -> traffic_pb2.ArmTotals:
    """Return what a version did in a step of a release."""
    return traffic_pb2.ArmTotals(
        endpoint=totals.arm.endpoint,
        release_id=totals.arm.release_id,
        step=totals.arm.step,
        version=totals.arm.version,
        requests=totals.requests,
        errors=totals.errors,
        latency=_histogram(totals.latency),
    )


def encode_shadow(totals: ShadowTotals) -> traffic_pb2.ShadowTotals:
    """Return how a shadow's answers compare, with its worst examples."""
    return traffic_pb2.ShadowTotals(
        endpoint=totals.pair.endpoint,
        primary=totals.pair.primary,
        shadow=totals.pair.shadow,
        rows=totals.rows,
        exact_rows=totals.exact_rows,
        tolerant_rows=totals.tolerant_rows,
        top1_rows=totals.top1_rows,
        errors=totals.errors,
        dropped=totals.dropped,
        ranked_rows=totals.ranked_rows,
        differences=_histogram(totals.differences),
        difference_sum=totals.difference_sum,
        worst=map(_example, totals.worst),
        last_time=timestamp_of(totals.last_time_us) if totals.last_time_us else None,
    )


def _histogram(counts: Mapping[int, int]) -> traffic_pb2.Histogram:
    return traffic_pb2.Histogram(bins=counts.keys(), counts=counts.values())


def _example(example: ShadowExample) -> traffic_pb2.ShadowExample:
    return traffic_pb2.ShadowExample(
        prediction_id=example.prediction_id,
        row=example.row,
        difference=example.difference,
        entities=[_key(column, value) for column, value in example.entities],
        primary=_tensors(example.primary),
        shadow=_tensors(example.shadow),
        as_of=timestamp_of(example.as_of_us),
    )


def _key(column: KeyColumn, value: str | int) -> Tensor:
    return (
        Tensor(name=column.name, ints=[int(value)]) if column.is_int else Tensor(name=column.name, strings=[str(value)])
    )


def _tensors(values: Sequence[tuple[Output, npt.NDArray[np.generic]]]) -> list[Tensor]:
    return [tensor_of(output.name, output.dtype, (1, *output.shape), value) for output, value in values]
