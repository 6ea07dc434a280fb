"""Predictions and outcomes on the wire."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from predictmesh.registry.v1 import quality_service_pb2 as pb
from predictmesh.registry.v1.endpoint_pb2 import OutcomeKind
from predictmesh.types.v1.data_type_pb2 import DataType
from predictmesh.types.v1.tensor_pb2 import Tensor
from services.mesh.errors import Code, MeshError, Reason
from services.mesh.status import from_status
from tests.support.kept_predictions import NOON_S, came_true, keeping, kept, recording
from tests.support.registry import Client

HOUR_MS = 3_600_000


async def test_predictions_outcomes_and_quality(client: Client) -> None:
    """Each outcome has a result of its own; quality is of those that are recorded."""
    await client.quality.RecordPredictions(keeping(kept("a", 0.9, 0.1), kept("b", 0.2)))
    answer = await client.quality.RecordOutcomes(
        recording(came_true("a"), came_true("a"), came_true("?"), came_true("a", 0.5, 1), came_true("b", 0.0))
    )
    assert [False, True, False, False, False] == [result.existed for result in answer.results]
    errors = [from_status(result.error) if result.HasField("error") else None for result in answer.results]
    assert [None, None, Reason.UNKNOWN_PREDICTION, Reason.INVALID_ARGUMENT, None] == [
        error and error.reason for error in errors
    ]
    assert errors[3] is not None
    assert ["label"] == [violation.field for violation in errors[3].violations]
    (quality,) = (await client.quality.GetQuality(pb.GetQualityRequest(endpoint="churn"))).versions
    assert ("churn", "1.0.0", 3, 2, 1.0) == (
        quality.model,
        quality.version,
        quality.predictions,
        quality.outcomes,
        quality.auc,
    )
    assert OutcomeKind.OUTCOME_KIND_BINARY == quality.kind
    assert (NOON_S, NOON_S + 3_600) == (quality.start_time.seconds, quality.end_time.seconds)
    assert not quality.HasField("mae")
    assert 2 == sum(each.rows for each in quality.calibration)


async def test_a_measure_of_0_is_there(client: Client) -> None:
    """Nought is not the absence of a measure."""
    regression = OutcomeKind.OUTCOME_KIND_REGRESSION
    await client.quality.RecordPredictions(keeping(kept("a", 3.0, kind=regression)))
    await client.quality.RecordOutcomes(recording(came_true("a", 3.0)))
    (quality,) = (await client.quality.GetQuality(pb.GetQualityRequest(endpoint="churn"))).versions
    assert quality.HasField("mae")
    assert quality.HasField("bias")
    assert (0.0, False) == (quality.mae, quality.HasField("auc"))


async def test_windows(client: Client) -> None:
    """By time in each version."""
    for hour in range(3):
        record = kept(str(hour), as_of={"seconds": NOON_S + hour * 3_600})
        await client.quality.RecordPredictions(keeping(record))
        await client.quality.RecordOutcomes(recording(came_true(str(hour))))
    request = pb.GetQualityRequest(endpoint="churn", window_ms=2 * HOUR_MS, every_ms=HOUR_MS)
    found = (await client.quality.GetQuality(request)).versions
    assert [NOON_S + 3_600, NOON_S + 7_200] == [each.start_time.seconds for each in found]


async def test_exported_predictions_are_what_was_kept(client: Client) -> None:
    """With what came true of them; those without features are not among them."""
    values = Tensor(data_type=DataType.DATA_TYPE_FP32, shape=[2], floats=[1.5, 2.5])
    features = pb.ServedFeatures(
        sources=[pb.ServedSource(name="rider_stats:trips", values=values, origins=b"\1\3")],
        views=[pb.ServedView(name="rider_stats", ages_us=[5, -(2**63)])],
    )
    captured = kept("a", 0.25, 0.75, features=features, release_id=7, step=1)
    empty = kept("b", features=pb.ServedFeatures(), as_of={"seconds": NOON_S - 1})
    await client.quality.RecordPredictions(keeping(captured, empty, kept("c")))
    outcome = came_true("a", 1.0, 1, time={"seconds": NOON_S, "nanos": 1_000})
    await client.quality.RecordOutcomes(recording(outcome))
    pages = [page async for page in client.quality.ExportPredictions(pb.ExportPredictionsRequest(endpoint="churn"))]
    expected = [
        pb.ExportedPrediction(prediction=empty),
        pb.ExportedPrediction(prediction=captured, outcomes=[outcome]),
    ]
    assert expected == [each for page in pages for each in page.predictions]


async def test_an_export_is_of_a_time(client: Client) -> None:
    """From the start to before the end."""
    features = pb.ServedFeatures()
    records = [kept(str(second), features=features, as_of={"seconds": NOON_S + second}) for second in range(4)]
    await client.quality.RecordPredictions(keeping(*records))
    request = pb.ExportPredictionsRequest(
        endpoint="churn", start_time=Timestamp(seconds=NOON_S + 1), end_time=Timestamp(seconds=NOON_S + 3)
    )
    pages = [page async for page in client.quality.ExportPredictions(request)]
    assert ["1", "2"] == [each.prediction.prediction_id for page in pages for each in page.predictions]


async def test_an_unknown_endpoint_is_told(client: Client) -> None:
    """Rather than that it has nothing."""
    exporting = client.quality.ExportPredictions(pb.ExportPredictionsRequest(endpoint="none"))
    for call in (client.quality.GetQuality(pb.GetQualityRequest(endpoint="none")), anext(aiter(exporting))):
        with pytest.raises(MeshError) as caught:
            await call
        assert (Code.NOT_FOUND, Reason.UNKNOWN_ENDPOINT) == (caught.value.code, caught.value.reason)


SPOILED: dict[str, tuple[str, Callable[[pb.PredictionRecord], object]]] = {
    "no as_of": ("as_of", lambda record: record.ClearField("as_of")),
    "no expire_time": ("expire_time", lambda record: record.ClearField("expire_time")),
    "no kind": ("kind", lambda record: record.ClearField("kind")),
    "no name": ("prediction_id", lambda record: record.ClearField("prediction_id")),
    "no rows": ("scores", lambda record: record.ClearField("scores")),
    "no such year": ("as_of", lambda record: setattr(record.as_of, "seconds", 2**62)),
    "no such revision": ("release_id", lambda record: setattr(record, "release_id", 2**64 - 1)),
}


@pytest.mark.parametrize("fault", SPOILED)
async def test_a_faulty_prediction_is_refused(client: Client, fault: str) -> None:
    """With the field, and nothing of the call is kept."""
    field, spoil = SPOILED[fault]
    bad = kept("b")
    spoil(bad)
    with pytest.raises(MeshError) as caught:
        await client.quality.RecordPredictions(keeping(kept("a"), bad))
    assert Code.INVALID_ARGUMENT == caught.value.code
    assert [f"predictions[1].{field}"] == [violation.field for violation in caught.value.violations]
    assert not (await client.quality.GetQuality(pb.GetQualityRequest(endpoint="churn"))).versions
