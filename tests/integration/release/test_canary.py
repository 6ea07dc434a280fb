"""A release as callers and the registry see it: who gets which version, and what counts as evidence."""

from __future__ import annotations

import asyncio
from collections import Counter

from predictmesh.gateway.v1.prediction_service_pb2 import PredictResponse
from predictmesh.gateway.v1.provenance_pb2 import ROUTE_REASON_CANARY, ROUTE_REASON_PINNED, ROUTE_REASON_STABLE
from predictmesh.registry.v1 import release_service_pb2 as pb
from predictmesh.registry.v1.release_pb2 import (
    RELEASE_STATE_PROMOTED,
    ErrorRateGuard,
    LatencyGuard,
    Release,
    ReleasePlan,
)
from tests.worlds.failures import failure
from tests.worlds.sandbox import TIMEOUT_S, Sandbox, eventually

RIDERS = [f"r{number}" for number in range(120)]
# What a machine that is busy otherwise does to times is none of the candidate's faults.
ERRORS, LATENCY = ErrorRateGuard(max_increase=0.5), LatencyGuard(max_p99_ratio=100)
# A plan that stays at its first step.
STILL = ReleasePlan(steps=[30, 100], min_requests=10**6, error_rate=ERRORS, latency=LATENCY)


async def start(own: Sandbox, endpoint: str, plan: ReleasePlan) -> Release:
    """Route an endpoint to 1.0.0, release 1.1.0 there, and wait until the gateway parts its requests."""
    await own.endpoint(endpoint, "scale", version="1.0.0", sticky_key="rider_id")
    request = pb.StartReleaseRequest(endpoint=own.full(endpoint), candidate="1.1.0", plan=plan, actor="test")
    started = await own.mesh.releases.StartRelease(request, timeout=TIMEOUT_S)
    await own.until_served(started.revision)
    return started.release


async def report(own: Sandbox, endpoint: str) -> pb.GetReleaseResponse:
    """Return the release with its evidence."""
    request = pb.GetReleaseRequest(endpoint=own.full(endpoint))
    return await own.mesh.releases.GetRelease(request, timeout=TIMEOUT_S)


async def ask(own: Sandbox, endpoint: str, **parts: str) -> dict[str, PredictResponse]:
    """Ask for every rider once."""
    answers = await asyncio.gather(*(own.predict(endpoint, {"rider_id": [rider]}, **parts) for rider in RIDERS))
    return dict(zip(RIDERS, answers, strict=True))


async def until_counted(own: Sandbox, endpoint: str, requests: int) -> pb.StepEvidence:
    """Wait until the registry knows of so many requests; return the first step's evidence."""
    found: list[pb.StepEvidence] = []

    async def counted() -> bool:
        found[:] = (await report(own, endpoint)).steps
        return bool(found) and found[0].stable.requests + found[0].candidate.requests >= requests

    await eventually(counted, f"{requests} requests at the registry")
    return found[0]


async def test_evidence(scaled: Sandbox) -> None:
    """The registry comes to know what each version answered: no pins, no caller's faults, and no repeats."""
    release = await start(scaled, "evidence", STILL)
    answers = await ask(scaled, "evidence")
    reasons = Counter(answer.provenance.route_reason for answer in answers.values())
    assert {ROUTE_REASON_CANARY, ROUTE_REASON_STABLE} == set(reasons)
    assert {release.id} == {answer.provenance.release_id for answer in answers.values()}
    pinned = await ask(scaled, "evidence", version="1.1.0")
    assert {(ROUTE_REASON_PINNED, 0)} == {
        (each.provenance.route_reason, each.provenance.release_id) for each in pinned.values()
    }
    assert "MISSING_KEY" == (await failure(scaled.predict("evidence", {}))).reason
    for _ in range(3):
        await scaled.predict("evidence", {"rider_id": ["r0"]}, prediction_id=scaled.full("mine"))
    step = await until_counted(scaled, "evidence", len(RIDERS) + 1)
    repeated = answers["r0"].provenance.route_reason
    assert (reasons[ROUTE_REASON_CANARY] + (repeated == ROUTE_REASON_CANARY), 0) == (
        step.candidate.requests,
        step.candidate.errors,
    )
    assert reasons[ROUTE_REASON_STABLE] + (repeated == ROUTE_REASON_STABLE) == step.stable.requests
    assert 0 < step.candidate.p99_us < TIMEOUT_S * 1e6


async def test_callers_never_go_back(scaled: Sandbox) -> None:
    """Through all steps to promotion by the gateway's own evidence: who has had the candidate keeps it."""
    plan = ReleasePlan(steps=[20, 60, 100], min_requests=20, min_duration_ms=1, error_rate=ERRORS, latency=LATENCY)
    await start(scaled, "steps", plan)
    moved: set[str] = set()
    steps: set[int] = set()

    async def promoted() -> bool:
        answers = await ask(scaled, "steps")
        with_candidate = {rider for rider, answer in answers.items() if answer.provenance.version == "1.1.0"}
        assert moved <= with_candidate
        moved.update(with_candidate)
        steps.add(len(with_candidate))
        return (await report(scaled, "steps")).release.state == RELEASE_STATE_PROMOTED

    await eventually(promoted, "promotion")
    served = await report(scaled, "steps")
    await scaled.until_served(served.revision)
    assert {"1.1.0"} == {answer.provenance.version for answer in (await ask(scaled, "steps")).values()}
    assert len(steps) >= 2
