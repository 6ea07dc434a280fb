"""A registry with two versions of churn, and releases there."""

from __future__ import annotations

import json

from predictmesh.registry.v1 import registry_service_pb2 as registry_pb
from predictmesh.registry.v1 import release_service_pb2 as pb
from predictmesh.registry.v1.release_pb2 import (
    RELEASE_STATE_PROMOTED,
    RELEASE_STATE_ROLLED_BACK,
    ErrorRateGuard,
    Release,
    ReleasePlan,
)
from services.registry.definitions import Route
from tests.support.definitions import endpoint, model, version, view
from tests.support.registry import Client
from tests.support.waiting import eventually_answers

LOOK_S = 0.02
STEPS = (5.0, 25.0, 50.0, 100.0)
QUICK = ReleasePlan(steps=STEPS, min_requests=50, min_duration_ms=1, error_rate=ErrorRateGuard(max_increase=0.01))


async def fill(client: Client) -> None:
    """Two versions of churn, READY, and the endpoint."""
    await client.apply(view(), model())
    await client.upload()
    for number in ("1.0.0", "1.1.0"):
        await client.register(version(number))
    await report_ready(client)
    await client.apply(endpoint(route=Route(version="1.0.0")), allow_unready=False)


async def report_ready(client: Client) -> None:
    """Say that every version is READY."""
    await client.report(*(await client.snapshot()).models[0].versions)


async def start(client: Client, plan: ReleasePlan = QUICK, **parts: object) -> Release:
    """Start a release of 1.1.0."""
    request: dict[str, object] = {"endpoint": "churn", "candidate": "1.1.0", "plan": plan, "reason": "better"} | parts
    response: pb.StartReleaseResponse = await client.releases.StartRelease(pb.StartReleaseRequest(**request))  # type: ignore[arg-type]
    return response.release


async def last(client: Client) -> Release:
    """The last release of churn."""
    response: pb.GetReleaseResponse = await client.releases.GetRelease(pb.GetReleaseRequest(endpoint="churn"))
    return response.release


async def ended(client: Client) -> Release:
    """The release, when it has ended."""

    async def over() -> bool:
        return (await last(client)).state in {RELEASE_STATE_PROMOTED, RELEASE_STATE_ROLLED_BACK}

    await eventually_answers(over)
    return await last(client)


async def route_of(client: Client) -> str:
    """The version that the endpoint's route names."""
    return (await client.snapshot()).endpoints[0].route.version


def changes(events: list[registry_pb.Event]) -> list[tuple[str, int, str]]:
    """State, step and actor of each change of a release in the log."""
    found = []
    for event in events:
        if event.type == "release_changed":
            release = json.loads(event.payload)["release"]
            found.append((release["state"], release["step"], event.actor))
    return found
