"""A release service that answers what a test tells it, and messages of releases for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_status import rpc_status

from predictmesh.registry.v1 import release_service_pb2 as pb
from predictmesh.registry.v1.release_pb2 import Release, ReleasePlan, ReleaseState
from predictmesh.registry.v1.release_service_pb2_grpc import (
    ReleaseServiceServicer,
    add_ReleaseServiceServicer_to_server,
)
from services.mesh.errors import MeshError
from services.mesh.status import to_status


def plan(**parts: Any) -> ReleasePlan:
    """A plan as the registry answers it: with every default filled in."""
    made = ReleasePlan(
        steps=[5, 25, 50, 100],
        min_requests=500,
        min_duration_ms=60_000,
        max_duration_ms=86_400_000,
        false_alarm_rate=0.01,
    )
    made.error_rate.max_increase = 0.01
    made.MergeFrom(ReleasePlan(**parts))
    return made


def release(state: ReleaseState.ValueType = ReleaseState.RELEASE_STATE_RUNNING, step: int = 0, **parts: Any) -> Release:
    """A release of delay from 1.0.0 to 1.1.0."""
    moment = Timestamp(seconds=1_380_585_600)
    said: dict[str, Any] = {
        "endpoint": "delay",
        "id": 7,
        "stable": "1.0.0",
        "candidate": "1.1.0",
        "plan": plan(),
        "start_time": moment,
        "step_time": moment,
        "state_time": moment,
    }
    return Release(**said | parts, state=state, step=step)


@dataclass
class Answers(ReleaseServiceServicer):
    """Answers each call in turn, the last for ever: an error is raised. Keeps the requests."""

    answers: Sequence[Any]
    requests: list[Any] = field(default_factory=list)

    def answer(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Answer one call."""
        answer = self.answers[min(len(self.requests), len(self.answers) - 1)]
        self.requests.append(request)
        if isinstance(answer, grpc.StatusCode):
            context.abort(answer, "as the test says")
        if isinstance(answer, MeshError):
            context.abort_with_status(rpc_status.to_status(to_status(answer)))
        return answer

    StartRelease = HoldRelease = ResumeRelease = Promote = Rollback = answer
    GetRelease = CheckGates = GetShadowReport = ReportTraffic = answer


@contextmanager
def answering(*answers: Any) -> Iterator[tuple[Answers, str]]:
    """Serve on a free port; yields the service and its address."""
    service = Answers(answers)
    server = grpc.server(ThreadPoolExecutor(2))
    add_ReleaseServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield service, f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def standing(*args: Any, waiting_for: Sequence[str] = (), **parts: Any) -> pb.GetReleaseResponse:
    """How a release stands, by the arguments of `release`."""
    return pb.GetReleaseResponse(release=release(*args, **parts), waiting_for=waiting_for, revision=9)
