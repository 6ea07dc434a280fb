"""Several versions behind one endpoint: ranges, weights, sticky keys."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

import pytest
import pytest_asyncio

from predictmesh.gateway.v1 import prediction_service_pb2 as gateway_pb
from predictmesh.gateway.v1.provenance_pb2 import RouteReason
from predictmesh.registry.v1.endpoint_pb2 import Route, WeightedVersion
from tests.integration.release.conftest import SCALES
from tests.worlds.failures import failure
from tests.worlds.resources import values
from tests.worlds.sandbox import TIMEOUT_S, Sandbox


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def routed(scaled: Sandbox) -> Sandbox:
    """Endpoints by a range and by weights; 2.0.0 has been released by none of them."""
    for number in ("1.0.0", "1.1.0"):
        await scaled.endpoint(f"released-{number[2]}", "scale", version=number)
    await scaled.endpoint("range", "scale", route=Route(range="1.x"))
    weights = [WeightedVersion(selector="1.0.0", percent=20), WeightedVersion(selector="1.1.x", percent=80)]
    await scaled.endpoint("weights", "scale", route=Route(weights=weights))
    await scaled.endpoint("sticky", "scale", route=Route(weights=weights), sticky_key="rider_id")
    return scaled


def answered(answer: gateway_pb.PredictResponse) -> tuple[str, str]:
    """Return version and reason; the outputs must be the version's."""
    made = answer.provenance
    assert {SCALES[made.version]} == set(values(answer.outputs[0]))
    return made.version, RouteReason.Name(made.route_reason).removeprefix("ROUTE_REASON_")


@pytest.mark.parametrize(
    ("endpoint", "field", "header", "expected"),
    [
        ("range", "", (), ("1.1.0", "ENDPOINT_RANGE")),
        ("range", "1.0.x", (), ("1.0.0", "PINNED_RANGE")),
        ("range", "", (("x-model-version", "1.0.x"),), ("1.0.0", "PINNED_RANGE")),
        ("weights", "2.0.0", (("x-model-version", "1.x"),), ("2.0.0", "PINNED")),
    ],
)
async def test_ranges_and_pins(
    routed: Sandbox, endpoint: str, field: str, header: Sequence[tuple[str, str]], expected: tuple[str, str]
) -> None:
    """A range leads to the newest released version, of the endpoint's route and of a caller's pin, which wins."""
    request = routed.request(endpoint, {"rider_id": ["a"]}, version=field)
    assert expected == answered(await routed.mesh.gateway.Predict(request, metadata=header, timeout=TIMEOUT_S))


async def test_a_range_of_nothing_released(routed: Sandbox) -> None:
    """A version that was only registered is in no range; the refusal says which are."""
    request = routed.request("range", {"rider_id": ["a"]}, version="2.x")
    found = await failure(routed.mesh.gateway.Predict(request, timeout=TIMEOUT_S))
    assert ("NOT_FOUND", "UNKNOWN_VERSION", ("version",)) == found.short
    assert "released are 1.0.0, 1.1.0" in found.message


async def test_weights(routed: Sandbox) -> None:
    """Requests are parted by their prediction ids, a repeat as before."""

    async def versions() -> list[tuple[str, str]]:
        calls = (routed.predict("weights", {"rider_id": ["a"]}, prediction_id=f"{number}") for number in range(200))
        return [answered(answer) for answer in await asyncio.gather(*calls)]

    first = await versions()
    assert first == await versions()
    counts = Counter(first)
    assert {("1.0.0", "ENDPOINT_WEIGHT"), ("1.1.0", "ENDPOINT_WEIGHT")} == set(counts)
    assert 15 <= counts["1.0.0", "ENDPOINT_WEIGHT"] <= 70


async def test_sticky_key(routed: Sandbox) -> None:
    """A rider keeps his version, whoever else is in the request; riders are on both."""

    async def version(*riders: str) -> str:
        return answered(await routed.predict("sticky", {"rider_id": riders}))[0]

    alone = {rider: await version(rider) for rider in map(str, range(40))}
    assert {"1.0.0", "1.1.0"} == set(alone.values())
    for rider, expected in alone.items():
        assert expected == await version(rider, "other")


async def test_sticky_key_is_missing(routed: Sandbox) -> None:
    """It is refused as on any endpoint."""
    found = await failure(routed.predict("sticky", {}))
    assert ("INVALID_ARGUMENT", "MISSING_KEY", ("entities",)) == found.short


async def test_shares_are_listed(routed: Sandbox) -> None:
    """Callers see every version with its share."""
    listed = await routed.mesh.gateway.ListEndpoints(gateway_pb.ListEndpointsRequest(), timeout=TIMEOUT_S)
    info = next(each for each in listed.endpoints if each.name == routed.full("weights"))
    assert [("1.0.0", 20.0), ("1.1.0", 80.0)] == [(each.version, each.percent) for each in info.versions]
    assert "1.1.0" == info.version
