"""Which version answers: the endpoint's, unless the caller names one."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import pytest_asyncio

from predictmesh.gateway.v1.provenance_pb2 import RouteReason
from tests.support.onnx_models import linear
from tests.worlds.failures import failure
from tests.worlds.resources import values
from tests.worlds.sandbox import TIMEOUT_S, Sandbox


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def scaled(own: Sandbox) -> Sandbox:
    """A model whose version N.0.0 multiplies by N; endpoint `fixed` is routed to 1.0.0, `champion` to the alias."""
    await own.model("scale")
    for number in (1, 2, 3):
        await own.register("scale", f"{number}.0.0", linear(number, width=1), {"x": ["request:x"]})
        await own.until_runtime("scale", f"{number}.0.0")
    await own.model("scale", champion="2.0.0", candidate="3.0.0")
    await own.endpoint("fixed", "scale", version="1.0.0")
    await own.endpoint("champion", "scale", alias="champion")
    return own


@pytest.mark.parametrize(
    ("endpoint", "field", "header", "scale", "reason"),
    [
        ("fixed", "", (), 1.0, "ENDPOINT_VERSION"),
        ("champion", "", (), 2.0, "ENDPOINT_ALIAS"),
        ("fixed", "3.0.0", (), 3.0, "PINNED"),
        ("fixed", "candidate", (), 3.0, "PINNED_ALIAS"),
        ("fixed", "", (("x-model-version", "2.0.0"),), 2.0, "PINNED"),
        ("fixed", "", (("x-model-version", "candidate"),), 3.0, "PINNED_ALIAS"),
        ("champion", "1.0.0", (("x-model-version", "3.0.0"),), 1.0, "PINNED"),
    ],
)
async def test_the_version_that_answers(
    scaled: Sandbox, endpoint: str, field: str, header: Sequence[tuple[str, str]], scale: float, reason: str
) -> None:
    """By the field, else the header, else the route; and the answer says why."""
    request = scaled.request(endpoint, {}, {"x": [1.0]}, version=field)
    answer = await scaled.mesh.gateway.Predict(request, metadata=header, timeout=TIMEOUT_S)
    assert [scale] == values(answer.outputs[0])
    assert f"{scale:g}.0.0" == answer.provenance.version
    assert f"ROUTE_REASON_{reason}" == RouteReason.Name(answer.provenance.route_reason)


@pytest.mark.parametrize("metadata", [(), (("x-model-version", "9.9.9"),)])
async def test_a_version_that_is_not_there(scaled: Sandbox, metadata: Sequence[tuple[str, str]]) -> None:
    """A pin to an unknown version or alias fails; it never falls back to another one."""
    request = scaled.request("fixed", {}, {"x": [1.0]}, version="" if metadata else "nobody")
    found = await failure(scaled.mesh.gateway.Predict(request, metadata=metadata, timeout=TIMEOUT_S))
    assert ("NOT_FOUND", "UNKNOWN_VERSION", ("version",)) == found.short


async def test_an_alias_moves(scaled: Sandbox) -> None:
    """Once the gateway has the revision, calls by the alias are answered by the new version."""
    await scaled.model("scale", champion="3.0.0", candidate="2.0.0")
    answer = await scaled.predict("champion", {}, {"x": [1.0]})
    assert [3.0] == values(answer.outputs[0])
    await scaled.model("scale", champion="2.0.0", candidate="3.0.0")
