"""Calls that were refused for overload: how many, whether they were told when to come back, and how urgent they were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from google.rpc import status_pb2

from services.mesh.status import from_status
from tests.chaos.harness.history import Call
from tests.worlds.failures import Failure

DETAILS = "grpc-status-details-bin"


@dataclass(frozen=True)
class Shedding:
    """How many calls were refused, how many of these were not told when to come back, and what part of each kind it was."""

    refused: int
    untold: int
    urgent_part: float
    other_part: float


def shedding(calls: Sequence[Call]) -> Shedding:
    """Return what was refused of `calls`."""
    refused = [call.failure for call in calls if _is_refused(call) and call.failure]
    return Shedding(
        refused=len(refused),
        untold=sum(not _says_when(failure) for failure in refused),
        urgent_part=_part_refused([call for call in calls if call.urgent]),
        other_part=_part_refused([call for call in calls if not call.urgent]),
    )


def _is_refused(call: Call) -> bool:
    return call.failure is not None and call.failure.short[:2] == ("RESOURCE_EXHAUSTED", "OVERLOADED")


def _says_when(failure: Failure) -> bool:
    """Whether a failure has a RetryInfo with a time."""
    details = failure.trailers.get(DETAILS, b"")
    status = status_pb2.Status.FromString(details if isinstance(details, bytes) else b"")
    return bool(from_status(status).retry_after_s)


def _part_refused(calls: Sequence[Call]) -> float:
    return sum(map(_is_refused, calls)) / max(1, len(calls))
