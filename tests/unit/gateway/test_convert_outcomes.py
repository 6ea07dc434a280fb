"""What is kept of predictions, as the registry takes it."""

from __future__ import annotations

import math
from typing import Any

from predictmesh.registry.v1 import quality_service_pb2 as pb
from services.gateway.convert import encode_explanation
from services.gateway.convert_outcomes import decode_results, encode_outcome, encode_record, served_features
from services.gateway.outcomes import Outcome
from services.gateway.prediction import NOT_STORED
from services.mesh.errors import Code, MeshError, Reason, RemoteError
from services.mesh.status import to_status
from tests.support.predictions import AS_OF_US
from tests.support.quality import record
from tests.unit.gateway.captured import explained


def source(features: pb.ServedFeatures, name: str) -> Any:
    """Return one source of the served features."""
    return next(each for each in features.sources if each.name == name)


async def test_served_features() -> None:
    """Each source once, typed, rows first, with where each row's value came from, and the ages by view."""
    found = served_features(await explained("known", "stale", "absent"))
    assert ["rider:a", "rider.age", "request:hour", "rider:path", "rider:n", "rider:name", "request:box"] == [
        each.name for each in found.sources
    ]
    a, n, path, box = (source(found, name) for name in ("rider:a", "rider:n", "rider:path", "request:box"))
    assert [1.0, 7.0] == list(a.values.floats)[:2]
    assert math.isnan(a.values.floats[2])
    assert bytes([1, 4, 5]) == a.origins
    assert ([3, 6, 6], [3], bytes([1, 2, 2])) == (list(n.values.ints), list(n.values.shape), n.origins)
    assert ([4.0, 5.0], [3, 2]) == (list(path.values.floats)[:2], list(path.values.shape))
    assert ([3, 4], bytes([2, 2, 2])) == (list(box.values.shape), box.origins)
    assert ["ann", "", ""] == list(source(found, "rider:name").values.strings)
    assert [("rider", [9, 8_000_000, NOT_STORED])] == [(each.name, list(each.ages_us)) for each in found.views]


async def test_served_features_are_what_explain_says() -> None:
    """Values and origins, source by source and row by row."""
    prediction = await explained("known", "stale", "absent")
    found = served_features(prediction)
    for each in encode_explanation(prediction).inputs:
        name = {"field": f"rider:{each.source.field.field}", "age_of_view": "rider.age"}.get(
            each.source.WhichOneof("kind") or "", f"request:{each.source.request}"
        )
        served = source(found, name)
        assert each.origin == served.origins[each.row], name
        assert repr(_values(each.value)) == repr(_row(served.values, each.row)), name


def _values(tensor: Any) -> list[Any]:
    return [*tensor.floats, *tensor.ints, *tensor.strings]


def _row(tensor: Any, row: int) -> list[Any]:
    width = math.prod(tensor.shape[1:])
    return _values(tensor)[row * width : (row + 1) * width]


def test_record() -> None:
    """Every field, times as timestamps, a score that is none as NaN."""
    message = encode_record(record("p", scores=[0.25, math.nan], expire_us=5_000_001))
    assert ("p", "m", "m", "1.0.0", 0.25) == (
        message.prediction_id, message.endpoint, message.model, message.version, message.scores[0],
    )  # fmt: skip
    assert math.isnan(message.scores[1])
    assert (5, 1_000) == (message.expire_time.seconds, message.expire_time.nanos)
    assert not message.HasField("features")


async def test_record_with_features() -> None:
    """They are the message's own."""
    prediction = await explained("known")
    assert served_features(prediction) == encode_record(record("p", served=prediction)).features


def test_outcome() -> None:
    """As it came, with its time."""
    message = encode_outcome(Outcome("p", 3, -0.5, AS_OF_US + 1))
    assert ("p", 3, -0.5, AS_OF_US + 1) == (
        message.prediction_id, message.row, message.label, message.time.ToMicroseconds(),
    )  # fmt: skip


def test_results() -> None:
    """Each outcome's own, with reason and message of what is refused."""
    refusal = to_status(RemoteError(Code.NOT_FOUND, Reason.UNKNOWN_PREDICTION, "not kept"))
    results = [pb.OutcomeResult(), pb.OutcomeResult(existed=True), pb.OutcomeResult(error=refusal)]
    new, known, error = decode_results(pb.RecordOutcomesResponse(results=results))
    assert (False, True) == (new, known)
    assert isinstance(error, MeshError)
    assert (Reason.UNKNOWN_PREDICTION, "not kept") == (error.reason, error.message)
