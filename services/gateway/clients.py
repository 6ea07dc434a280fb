"""The gateway's calls to the feature service and the model service: the domain's types out of the wire's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from tritonclient.grpc import service_pb2 as oip_pb

from predictmesh.features.v1 import features_service_pb2 as features_pb
from predictmesh.registry.v1 import release_service_pb2 as release_pb
from predictmesh.types.v1.tensor_pb2 import Tensor
from services.gateway.assembly import unpacked
from services.gateway.convert_traffic import encode_arm, encode_shadow
from services.gateway.errors import InvalidOutput, VersionNotLoaded
from services.gateway.prediction import FeatureRows, FeatureState, Inference, RuntimeSource
from services.gateway.runtimes import sources_of
from services.mesh.deadline import Deadline
from services.mesh.errors import MeshError, Reason
from services.mesh.resilience import Effort, Hop

if TYPE_CHECKING:
    import numpy.typing as npt

    from predictmesh.features.v1.features_service_pb2_grpc import FeatureServiceAsyncStub
    from predictmesh.registry.v1.release_service_pb2_grpc import ReleaseServiceAsyncStub
    from services.gateway.agreement import ShadowTotals
    from services.gateway.target import Input, Output, Target
    from services.gateway.traffic import ArmTotals
    from services.mesh.replicas import Connection

ROW_STATUS = "pm_row_status"
ROW_SOURCE = "pm_row_source"
REMAINING_MS = "pm_rows"
RUNTIME = "pm_runtime"
# A definition reaches the gateway and the feature service each by its own watch, so one may be ahead of the other.
VIEW_WAITS_S = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32)
# Calls that bring the plan once some replica did not know it. The repeated call alone would not do: as calls take
# turns, it goes to the next replica, and the first one would never learn.
PLAN_CALLS = 16


class FeatureClient:
    """Asks for features by plan id; sends the plan itself when the service does not know it.

    `hop` names its calls in the metrics; what fails for one client is nothing to another.
    """

    def __init__(
        self, replicas: Sequence[Connection[FeatureServiceAsyncStub]], *, hop: str = "features", hedged: bool = True
    ) -> None:
        self._bringing_plan: dict[bytes, int] = {}
        self.hop = Hop(hop, replicas, hedged=hedged)

    async def get(
        self,
        target: Target,
        keys: Sequence[Sequence[str] | Sequence[int]],
        as_of_us: Sequence[int],
        deadline: Deadline,
        *,
        want_origins: bool,
    ) -> FeatureRows:
        """Return the values of the target's plan; raises what the feature service answers."""
        request = features_pb.GetFeaturesRequest(
            plan_id=target.plan_id,
            keys=[
                Tensor(name=key.name, ints=values) if key.is_int else Tensor(name=key.name, strings=values)  # type: ignore[arg-type]
                for key, values in zip(target.keys, keys, strict=True)
            ],
            as_of_us=_once(as_of_us),
            want_origins=want_origins,
        )
        assert isinstance(target.plan, features_pb.FeaturePlan)
        if self._bringing_plan and self._brings_plan(target.plan_id):
            request.plan.CopyFrom(target.plan)
        try:
            response, effort = await self._call(request, deadline)
        except MeshError as error:
            if error.reason is not Reason.UNKNOWN_PLAN:
                raise
            self._bringing_plan[target.plan_id] = PLAN_CALLS
            request.plan.CopyFrom(target.plan)
            response, effort = await self._call(request, deadline, first=False)
        return _feature_rows(response, effort, len(keys[0]))

    def _brings_plan(self, plan_id: bytes) -> bool:
        """Say whether the next call brings the plan, and count it."""
        left = self._bringing_plan.pop(plan_id, 0)
        if left > 1:
            self._bringing_plan[plan_id] = left - 1
        return left > 0

    async def _call(
        self, request: features_pb.GetFeaturesRequest, deadline: Deadline, *, first: bool = True
    ) -> tuple[features_pb.GetFeaturesResponse, Effort]:
        """Call; while the service does not know a view of the plan yet, wait for it within VIEW_WAITS_S."""

        async def attempt(stub: FeatureServiceAsyncStub, timeout: float) -> features_pb.GetFeaturesResponse:
            return await stub.GetFeatures(request, timeout=timeout)

        for wait_s in VIEW_WAITS_S:
            try:
                return await self.hop.call(attempt, deadline, first=first)
            except MeshError as error:
                if error.reason is not Reason.UNKNOWN_VIEW or deadline.remaining() <= wait_s:
                    raise
            first = False
            await asyncio.sleep(wait_s)
        return await self.hop.call(attempt, deadline, first=False)


def _feature_rows(response: features_pb.GetFeaturesResponse, effort: Effort, rows: int) -> FeatureRows:
    return FeatureRows(
        tensors=list(response.tensors),
        ages_us=memoryview(response.ages_us).cast("q"),
        statuses=[(status.row, status.view, FeatureState(status.state)) for status in response.statuses],
        missing=[(element.row, element.tensor, element.source) for element in response.missing],
        origins=list(response.origins),
        effort=effort,
        unreached={each.view: frozenset(each.rows) or range(rows) for each in response.unreached},
    )


class ModelClient:
    """Infers over the Open Inference Protocol v2, with the remaining time of each row; `hop` as for a FeatureClient."""

    # tritonclient's stubs are not typed.
    def __init__(self, replicas: Sequence[Connection[Any]], *, hop: str = "model", hedged: bool = True) -> None:
        self.hop = Hop(hop, replicas, hedged=hedged)

    async def infer(
        self, target: Target, tensors: Sequence[bytes], remaining_ms: Sequence[int], deadline: Deadline
    ) -> Inference:
        """Return the target's outputs; raises what the model service answers, or InvalidOutput."""
        rows = len(remaining_ms)
        request = oip_pb.ModelInferRequest(
            model_name=target.model,
            model_version=target.version,
            inputs=[_described(feed, rows) for feed in target.inputs],
            raw_input_contents=tensors,
        )
        request.parameters[REMAINING_MS].string_param = _times(remaining_ms, 0)
        put_together, attempts = time.monotonic(), 0

        async def attempt(stub: Any, timeout: float) -> oip_pb.ModelInferResponse:  # noqa: ANN401
            nonlocal attempts
            attempts += 1
            if attempts > 1:
                passed_ms = int((time.monotonic() - put_together) * 1000)
                request.parameters[REMAINING_MS].string_param = _times(remaining_ms, passed_ms)
            try:
                return await stub.ModelInfer(request, timeout=timeout)
            except MeshError as error:
                if error.reason not in {Reason.UNKNOWN_MODEL, Reason.UNKNOWN_VERSION}:
                    raise
                # Our definitions have it, so that replica is behind; another may not be.
                raise VersionNotLoaded(f"{target.model}@{target.version} is not known there yet") from error

        response, effort = await self.hop.call(attempt, deadline)
        return _inference(response, effort, target, rows)


def _times(remaining_ms: Sequence[int], passed_ms: int) -> str:
    return ",".join(str(max(0, left - passed_ms)) for left in _once(remaining_ms))


def _once(values: Sequence[int]) -> Sequence[int]:
    """Return what the services take for rows that all have the same: the value alone."""
    return values[:1] if values.count(values[0]) == len(values) else values


def _described(feed: Input, rows: int) -> oip_pb.ModelInferRequest.InferInputTensor:
    return oip_pb.ModelInferRequest.InferInputTensor(
        name=feed.name, datatype=feed.dtype.name, shape=(rows, *feed.shape)
    )


def _inference(response: oip_pb.ModelInferResponse, effort: Effort, target: Target, rows: int) -> Inference:
    contents = response.raw_output_contents
    if len(contents) != len(response.outputs):
        raise InvalidOutput(f"{target.model} {target.version} did not answer each output's bytes")
    packed = {output.name: content for output, content in zip(response.outputs, contents, strict=True)}
    failed: dict[int, int] = {}
    if ROW_STATUS in packed:
        if len(packed[ROW_STATUS]) != 4 * rows:
            raise InvalidOutput(f"{target.model} {target.version} did not answer {rows} row statuses")
        codes = np.frombuffer(packed[ROW_STATUS], dtype="<i4")
        failed = {int(row): int(codes[row]) for row in np.flatnonzero(codes)}
    outputs = [_output(packed.get(output.name), output, rows, target) for output in target.outputs]
    return Inference(outputs, failed, *_computed_by(response, packed.get(ROW_SOURCE), rows, target), effort)


def _computed_by(
    response: oip_pb.ModelInferResponse, packed: bytes | None, rows: int, target: Target
) -> tuple[tuple[RuntimeSource, ...], npt.NDArray[np.uint8] | None]:
    """Return the sources of the answer, and each row's where there are several."""
    try:
        sources = sources_of(response.parameters[RUNTIME].string_param)
    except ValueError as error:
        raise InvalidOutput(f"{target.model} {target.version} did not say what computed it: {error}") from error
    if len(sources) == 1:
        return sources, None
    if packed is None or len(packed) != rows or max(packed) >= len(sources):
        raise InvalidOutput(f"{target.model} {target.version} did not say what computed each of {rows} rows")
    return sources, np.frombuffer(packed, dtype=np.uint8)


def _output(packed: bytes | None, output: Output, rows: int, target: Target) -> np.ndarray:
    try:
        array = None if packed is None else unpacked(packed, output.dtype, output.width)
    except ValueError:
        array = None
    if array is None or len(array) != rows:
        raise InvalidOutput(
            f"{target.model} {target.version} did not answer {rows} rows of output {output.name!r}", output=output.name
        )
    return array


class TrafficClient:
    """Reports traffic to the registry."""

    def __init__(self, stub: ReleaseServiceAsyncStub) -> None:
        self._stub = stub

    async def report(
        self,
        instance_id: str,
        sequence: int,
        arms: Sequence[ArmTotals],
        shadows: Sequence[ShadowTotals],
        *,
        timeout_s: float,
    ) -> None:
        """Return when the registry has the totals; raises what it answers."""
        request = release_pb.ReportTrafficRequest(
            instance_id=instance_id,
            sequence=sequence,
            arms=map(encode_arm, arms),
            shadows=map(encode_shadow, shadows),
        )
        await self._stub.ReportTraffic(request, timeout=timeout_s)
