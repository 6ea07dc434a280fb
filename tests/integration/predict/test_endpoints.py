"""ListEndpoints: all that a caller needs to know, with a request that can be sent as it is."""

from __future__ import annotations

from typing import Any

import pytest

from predictmesh.gateway.v1 import prediction_service_pb2 as gateway_pb
from tests.support.onnx_models import reciprocal
from tests.worlds.models import echo
from tests.worlds.resources import field, tensor, values, view
from tests.worlds.sandbox import TIMEOUT_S, Sandbox

SOURCES = {"x": ["rider:trips", "rider:rating", "rider.age", "request:hour"]}


async def listed(own: Sandbox, name: str) -> gateway_pb.EndpointInfo:
    """What is said of an endpoint."""
    answer = await own.mesh.gateway.ListEndpoints(gateway_pb.ListEndpointsRequest(), timeout=TIMEOUT_S)
    (found,) = [endpoint for endpoint in answer.endpoints if endpoint.name == own.full(name)]
    return found


async def send(own: Sandbox, name: str) -> gateway_pb.PredictResponse:
    """Send an endpoint's sample."""
    return await own.mesh.gateway.Predict((await listed(own, name)).sample, timeout=TIMEOUT_S)


async def test_what_is_said_of_an_endpoint(riders: Sandbox) -> None:
    """Name, model, version, key columns, features, outputs and default time."""
    found = await listed(riders, "ride")
    assert (riders.full("ride"), riders.full("ride"), "1.0.0", 1000) == (
        found.name,
        found.model,
        found.version,
        found.default_timeout_ms,
    )
    assert ["rider_id"] == [key.name for key in found.entity_keys]
    assert ["hour"] == [feature.name for feature in found.request_features]
    assert [("x_seen", [4])] == [(output.name, list(output.shape)) for output in found.outputs]


async def test_a_sample_that_was_made_up(riders: Sandbox) -> None:
    """Keys and features of the right names and types."""
    answer = await send(riders, "ride")
    assert 1 == answer.outputs[0].shape[0]


async def test_a_sample_for_inputs_that_must_be_finite(own: Sandbox) -> None:
    """A made-up value is one that the model takes."""
    await own.view(view("n", field("n", "INT64", default=1), entity="thing", keys={"a": "INT64", "b": "STRING"}))
    sources = {"x": ["request:x"]}
    await own.serve("finite", reciprocal(), sources)
    await own.mesh.gateway.Predict(own.request("finite", {}, {"x": [2.0]}), timeout=TIMEOUT_S)
    request = (await listed(own, "finite")).sample
    assert ["x"] == [feature.name for feature in request.features]
    await own.serve("types", echo(n=("INT64", (1,)), s=("BYTES", ()), b=("BOOL", ()), l=("FP64", (3,))), TYPES)
    answer = await send(own, "types")
    assert not answer.row_errors


TYPES = {"n": ["n:n"], "s": ["request:s"], "b": ["request:b"], "l": ["request:l"]}


@pytest.mark.parametrize(
    ("entities", "features", "rows"),
    [
        ({"rider_id": ["a", "b", "c"]}, {}, 3),
        ({"rider_id": ["a", "b"]}, {"rider:trips": [1.0, 2.0]}, 2),
        ({"rider_id": ["a"]}, {"hour": [5.0]}, 1),
    ],
)
async def test_a_sample_that_was_given_in_part(
    riders: Sandbox, entities: dict[str, Any], features: dict[str, Any], rows: int
) -> None:
    """What an endpoint's sample leaves out is made up, with as many rows."""
    sample: dict[str, Any] = {
        "sample_entities": [tensor(name, given) for name, given in entities.items()],
        "sample_features": [
            tensor(riders.full(name) if ":" in name else name, given) for name, given in features.items()
        ],
    }
    await riders.endpoint("sampled", "ride", version="1.0.0", **sample)
    answer = await send(riders, "sampled")
    assert [rows, 4] == list(answer.outputs[0].shape)
    if "hour" in features:
        assert [5.0] == values(answer.outputs[0])[3::4]
