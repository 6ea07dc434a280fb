"""The registry's side of a release: started, followed, and asked what it has seen."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import grpc

from deploy.demo.flight_delay.release.board import BOARD, Arm, Tally
from predictmesh.gateway.v1.prediction_service_pb2 import ListEndpointsRequest, ListEndpointsResponse
from predictmesh.gateway.v1.prediction_service_pb2_grpc import PredictionServiceStub
from predictmesh.registry.v1.endpoint_pb2 import Shadow
from predictmesh.registry.v1.quality_service_pb2 import GetQualityRequest, GetQualityResponse
from predictmesh.registry.v1.quality_service_pb2_grpc import QualityServiceStub
from predictmesh.registry.v1.registry_service_pb2 import ApplyRequest, GetSnapshotRequest, Resource
from predictmesh.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from predictmesh.registry.v1.release_pb2 import Release, ReleasePlan, ReleaseState
from predictmesh.registry.v1.release_service_pb2 import (
    GetReleaseRequest,
    GetReleaseResponse,
    GetShadowReportRequest,
    StartReleaseRequest,
)
from predictmesh.registry.v1.release_service_pb2_grpc import ReleaseServiceStub
from predictmesh.registry.v1.traffic_pb2 import ShadowTotals
from services.cli.audit import actor
from services.cli.client import failure
from services.cli.errors import Failure
from services.cli.targets import Target

UNDER_WAY = {ReleaseState.RELEASE_STATE_RUNNING, ReleaseState.RELEASE_STATE_HELD}
_REASON = "demo"
_TIMEOUT_S = 30.0
_POLL_S = 0.01

Request = TypeVar("Request")
Answer = TypeVar("Answer")


class Control:
    """What a person does with releases, and what one waits for before one looks at the result.

    Failure if a call fails, or if what is waited for has not come after 30 s.
    """

    def __init__(self, registry: grpc.aio.Channel, gateway: grpc.aio.Channel, targets: tuple[Target, Target]) -> None:
        self._registry = RegistryServiceStub(registry)
        self._releases = ReleaseServiceStub(registry)
        self._quality = QualityServiceStub(registry)
        self._gateway = PredictionServiceStub(gateway)
        self._at_registry, self._at_gateway = targets

    async def start(self, candidate: str, plan: ReleasePlan, reason: str) -> Release:
        """Start a release; return it once the gateway parts the requests by it."""
        request = StartReleaseRequest(endpoint=BOARD, candidate=candidate, plan=plan, actor=actor(), reason=reason)
        started = await self._ask(self._releases.StartRelease, request)
        await self._served(started.revision)
        return started.release

    async def caught_up(self, tally: Tally) -> GetReleaseResponse:
        """Return how the release stands after all that the caller did, as soon as that has had its effect.

        That is: every answer and outcome counts, the controller has drawn its conclusion, and the gateway acts on it.
        """
        view = await self._until(self._look, lambda view: counted(view, tally) and not due(view), "the release")
        await self._served(view.revision)
        return view

    async def shadow(self, version: str, tolerance: float) -> None:
        """Ask `version` as well, about everything; an empty one ends that. Return once the gateway does."""
        snapshot = (await self._ask(self._registry.GetSnapshot, GetSnapshotRequest())).snapshot
        endpoint = next(each for each in snapshot.endpoints if each.name == BOARD)
        endpoint.ClearField("shadow")
        if version:
            endpoint.shadow.CopyFrom(Shadow(selector=version, percent=100, absolute_tolerance=tolerance))
        request = ApplyRequest(resources=[Resource(endpoint=endpoint)], actor=actor(), reason=_REASON)
        await self._served((await self._ask(self._registry.Apply, request)).revision)

    async def compared(self, version: str, requests: int) -> ShadowTotals:
        """Return how the shadow compares, once so many requests are counted, answered or not."""

        async def look() -> ShadowTotals:
            response = await self._ask(self._releases.GetShadowReport, GetShadowReportRequest(endpoint=BOARD))
            return next((each for each in response.shadows if each.shadow == version), ShadowTotals())

        return await self._until(
            look, lambda found: found.rows + found.errors + found.dropped >= requests, "the shadow's report"
        )

    async def answering(self) -> str:
        """Return the version that the gateway gives a request without a pin."""
        listed = await self._ask(self._gateway.ListEndpoints, ListEndpointsRequest(), self._at_gateway)
        return next(each.version for each in listed.endpoints if each.name == BOARD)

    async def quality(self, tally: Tally) -> GetQualityResponse:
        """Return the quality of the versions, once every outcome counts."""

        async def look() -> GetQualityResponse:
            return await self._ask(self._quality.GetQuality, GetQualityRequest(endpoint=BOARD))

        told = tally.outcomes.total()
        return await self._until(look, lambda found: sum(each.outcomes for each in found.versions) >= told, "quality")

    async def _look(self) -> GetReleaseResponse:
        return await self._ask(self._releases.GetRelease, GetReleaseRequest(endpoint=BOARD))

    async def _served(self, revision: int) -> None:
        async def look() -> ListEndpointsResponse:
            return await self._ask(self._gateway.ListEndpoints, ListEndpointsRequest(), self._at_gateway)

        await self._until(
            look, lambda found: found.snapshot_revision >= revision, f"revision {revision} at the gateway"
        )

    async def _until(self, look: Callable[[], Awaitable[Answer]], done: Callable[[Answer], bool], what: str) -> Answer:
        deadline = time.monotonic() + _TIMEOUT_S
        while not done(found := await look()):
            if time.monotonic() > deadline:
                raise Failure(f"{what} has not followed after {_TIMEOUT_S:g} s")
            await asyncio.sleep(_POLL_S)
        return found

    async def _ask(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Request, Answer],
        request: Request,
        target: Target | None = None,
    ) -> Answer:
        try:
            return await method(request, timeout=_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise failure(error, target or self._at_registry) from error


def counted(view: GetReleaseResponse, tally: Tally) -> bool:
    """Whether the evidence holds everything that the caller knows of the release."""
    release = view.release
    arms = [(Arm(release.id, release.stable), [step.stable for step in view.steps])]
    arms += [(Arm(release.id, release.candidate), [step.candidate for step in view.steps])]
    return all(
        sum(each.requests for each in evidence) >= tally.answers[arm]
        and sum(each.outcomes for each in evidence) >= tally.outcomes[arm]
        for arm, evidence in arms
    )


def due(view: GetReleaseResponse) -> bool:
    """Whether the controller has something to do: it looks now and then."""
    state = view.release.state
    if any(verdict.violated for verdict in view.verdicts):
        return state in UNDER_WAY
    return state == ReleaseState.RELEASE_STATE_RUNNING and not view.waiting_for
