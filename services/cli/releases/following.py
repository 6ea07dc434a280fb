"""Following a release until nothing moves it any more."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import cast

import grpc

from predictmesh.registry.v1.release_pb2 import ReleaseState
from predictmesh.registry.v1.release_service_pb2 import GetReleaseRequest, GetReleaseResponse
from predictmesh.registry.v1.release_service_pb2_grpc import ReleaseServiceStub
from services.cli.errors import Failure

# Gateways report about each second; asking more often shows nothing new.
POLL_S = 1.0
_AWAY = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}


def follow(
    releases: ReleaseServiceStub, endpoint: str, show: Callable[[GetReleaseResponse], None], patience_s: float
) -> GetReleaseResponse:
    """Show how the endpoint's release stands, each second, and return it as it is held or has ended.

    A registry that goes away on the way is waited for up to `patience_s` seconds. Failure if another release comes.
    """
    response = releases.GetRelease(GetReleaseRequest(endpoint=endpoint), timeout=patience_s)
    followed = response.release.id
    while True:
        show(response)
        if response.release.state != ReleaseState.RELEASE_STATE_RUNNING:
            return response
        time.sleep(POLL_S)
        response = _ask(releases, endpoint, patience_s)
        if response.release.id != followed:
            raise Failure(f"the release of {endpoint} has ended, and release {response.release.id} has begun")


def _ask(releases: ReleaseServiceStub, endpoint: str, patience_s: float) -> GetReleaseResponse:
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return releases.GetRelease(GetReleaseRequest(endpoint=endpoint), timeout=patience_s)
        except grpc.RpcError as error:
            if cast("grpc.Call", error).code() not in _AWAY or time.monotonic() > deadline:
                raise
            time.sleep(POLL_S)


def check_promoted(response: GetReleaseResponse) -> None:
    """Raise Failure unless the release has ended with its candidate before all callers."""
    release = response.release
    reason = f": {release.reason}" if release.reason else ""
    if release.state == ReleaseState.RELEASE_STATE_HELD:
        remedy = "`predictmesh release resume` lets it go on, promote or rollback end it"
        raise Failure(f"the release of {release.endpoint} is held{reason} ({remedy})")
    if release.state != ReleaseState.RELEASE_STATE_PROMOTED:
        raise Failure(f"the release of {release.endpoint} was rolled back{reason}")
