"""Releases under load: a version, an alias, a field more, a version less; no call fails and no answer is wrong."""

from __future__ import annotations

from predictmesh.registry.v1 import registry_service_pb2 as registry_pb
from predictmesh.registry.v1.endpoint_pb2 import Endpoint, Route
from tests.support.onnx_models import linear
from tests.worlds.parts import Parts
from tests.worlds.resources import field, view
from tests.worlds.sandbox import TIMEOUT_S, Sandbox, eventually
from tests.worlds.traffic import CALLERS, Traffic, traffic

SOURCES = {"x": ["rider:tens"]}


async def until_answered_by(calls: Traffic, version: str) -> None:
    """Wait until a version answers, and alone: what was under way by another one has come back."""

    async def alone() -> bool:
        before = calls.versions.copy()
        await calls.more(2 * CALLERS)
        return (calls.versions - before).keys() == {version}

    await eventually(alone, f"answers of {version}")


async def test_a_version_is_released(own: Sandbox) -> None:
    """By its alias; the old one answers until the new one is warm, and each answer is of the version that it names."""
    async with traffic(own, "ride") as calls:
        await own.register("ride", "2.0.0", linear(2.0, width=1), SOURCES)
        await own.until_runtime("ride", "2.0.0")
        await own.model("ride", champion="2.0.0")
        await until_answered_by(calls, "2.0.0")
        before = calls.versions["1.0.0"]
        await calls.more()
        assert before == calls.versions["1.0.0"]
        await own.model("ride", champion="1.0.0")
        await until_answered_by(calls, "1.0.0")
    calls.flawless()
    assert {"1.0.0", "2.0.0"} == calls.versions.keys()


async def test_a_version_is_deleted(own: Sandbox) -> None:
    """Once nothing is routed to it any more, its going is not noticed."""
    async with traffic(own, "ride") as calls:
        await own.register("ride", "2.0.0", linear(2.0, width=1), SOURCES)
        await own.until_runtime("ride", "2.0.0")
        await own.model("ride", champion="2.0.0")
        await until_answered_by(calls, "2.0.0")
        version = registry_pb.VersionName(model=own.full("ride"), version="1.0.0")
        await own.mesh.registry.Delete(registry_pb.DeleteRequest(version=version), timeout=TIMEOUT_S)
        await calls.more()
    calls.flawless()


async def test_a_view_gets_a_field(own: Sandbox) -> None:
    """What is stored by the shorter list of fields is read on, by the old version and by one that takes the new field."""
    async with traffic(own, "ride") as calls:
        await own.view(
            view("rider", field("tens"), field("new", default=0.0), entity="rider", keys={"rider_id": "STRING"})
        )
        await calls.more()
        sources = {"x": ["rider:tens", "rider:new"]}
        await own.register("ride", "2.0.0", linear(2.0, width=2), sources)
        await own.until_runtime("ride", "2.0.0")
        await own.model("ride", champion="2.0.0")
        await until_answered_by(calls, "2.0.0")
        await own.write("rider", {"rider_id": ["r1"]}, {"tens": [10.0], "new": [0.0]})
        await calls.more()
    calls.flawless()


async def test_many_changes(own: Sandbox, whole: Parts) -> None:
    """Definitions that change as fast as they can disturb nobody."""
    async with traffic(own, "ride") as calls:
        for number in range(30):
            endpoint = Endpoint(
                name=own.full("ride"),
                model=own.full("ride"),
                route=Route(alias="champion"),
                description=str(number),
            )
            request = registry_pb.ApplyRequest(resources=[registry_pb.Resource(endpoint=endpoint)])
            await own.mesh.registry.Apply(request, timeout=TIMEOUT_S)
        await calls.more()
    calls.flawless()
