"""Explain: every input of the model, its value, and where it came from."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest_asyncio

from predictmesh.gateway.v1 import prediction_service_pb2 as gateway_pb
from predictmesh.gateway.v1.prediction_service_pb2 import ValueOrigin
from tests.worlds.models import echo
from tests.worlds.resources import field, values, view
from tests.worlds.sandbox import NOON_US, TIMEOUT_S, Sandbox

RIDER = {"rider_id": "STRING"}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def told(own: Sandbox) -> Sandbox:
    """One view that keeps for a minute and then takes its default, and one without defaults."""
    fields = (field("v", default=-1.0), field("l", length=2, default=[8.0, 9.0]))
    await own.view(view("short", *fields, entity="rider", keys=RIDER, max_age_s=60, policy="DEFAULT"))
    await own.view(view("bare", field("w"), entity="rider", keys=RIDER))
    sources = {"x": ["short:v", "short:l", "bare:w", "short.age", "request:r"], "y": ["request:r"]}
    await own.serve("told", echo(x=("FP32", (6,)), y=("FP32", ())), sources)
    await own.write("short", {"rider_id": ["a"]}, {"v": [1.0], "l": [[2.0, 3.0]]})
    await own.write("bare", {"rider_id": ["a"]}, {"w": [4.0]})
    return own


async def explained(
    own: Sandbox, rider: str, *, later_s: int = 0, features: Mapping[str, list[float]] | None = None
) -> tuple[dict[str, tuple[str, list[float], int | None]], gateway_pb.ExplainResponse]:
    """Origin, value and age of each source by its name."""
    request = own.request(
        "told", {"rider_id": [rider]}, {"r": [7.0], **(features or {})}, as_of_us=NOON_US + later_s * 1_000_000
    )
    answer = await own.mesh.gateway.Explain(gateway_pb.ExplainRequest(request=request), timeout=TIMEOUT_S)
    found = {}
    for each in answer.inputs:
        kind = each.source.WhichOneof("kind")
        name = {
            "field": f"{each.input} {each.source.field.field}",
            "age_of_view": f"{each.input} age",
            "request": f"{each.input} {each.source.request}",
        }[kind or ""]
        origin = ValueOrigin.Name(each.origin).removeprefix("VALUE_ORIGIN_")
        found[name] = origin, values(each.value), each.age_ms if each.HasField("age_ms") else None
    return found, answer


async def test_stored_values(told: Sandbox) -> None:
    """From the store, with their age, in the order of the binding; and the prediction itself."""
    found, answer = await explained(told, "a", later_s=30)
    assert {
        "x v": ("STORE", [1.0], 30_000),
        "x l": ("STORE", [2.0, 3.0], 30_000),
        "x w": ("STORE", [4.0], 30_000),
        "x age": ("STORE", [30.0], 30_000),
        "x r": ("REQUEST", [7.0], None),
        "y r": ("REQUEST", [7.0], None),
    } == found
    assert [1.0, 2.0, 3.0, 4.0, 30.0, 7.0] == values(answer.prediction.outputs[0])
    assert answer.prediction.provenance.version == "1.0.0"


async def test_values_that_are_too_old(told: Sandbox) -> None:
    """The default and why; the age is the true one."""
    found, _ = await explained(told, "a", later_s=61)
    assert ("DEFAULT_STALE", [-1.0], 61_000) == found["x v"]
    assert ("DEFAULT_STALE", [8.0, 9.0], 61_000) == found["x l"]
    assert ("STORE", [4.0], 61_000) == found["x w"]
    assert "NULL" == found["x age"][0]
    assert math.isnan(found["x age"][1][0])


async def test_values_that_are_not_stored(told: Sandbox) -> None:
    """Defaults, null without one, and no age."""
    found, _ = await explained(told, "nobody")
    assert ("DEFAULT_ABSENT", [-1.0], None) == found["x v"]
    assert "NULL" == found["x w"][0]
    assert ("NULL", None) == (found["x age"][0], found["x age"][2])


async def test_values_that_the_request_brings(told: Sandbox) -> None:
    """They are its own, even where there is a stored one."""
    found, _ = await explained(told, "a", features={"short:v": [5.0]})
    assert ("REQUEST", [5.0], None) == found["x v"]
    assert "STORE" == found["x l"][0]
