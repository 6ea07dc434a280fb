"""Enumerations as words."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from predictmesh.gateway.v1.provenance_pb2 import DegradationReason

Value = TypeVar("Value", bound=int)

DEGRADATIONS = {
    DegradationReason.DEGRADATION_REASON_FEATURE_ABSENT: "nothing stored, defaults taken",
    DegradationReason.DEGRADATION_REASON_FEATURE_STALE_SERVED: "older than the view allows, served",
    DegradationReason.DEGRADATION_REASON_FEATURE_STALE_DEFAULTED: "older than the view allows, defaults taken",
    DegradationReason.DEGRADATION_REASON_FEATURE_AHEAD: "newer than as_of",
    DegradationReason.DEGRADATION_REASON_REGISTRY_UNREACHABLE: "registry out of reach, definitions may be old",
    DegradationReason.DEGRADATION_REASON_RUNTIME_FAILED: "runtime failed, the next one computed",
    DegradationReason.DEGRADATION_REASON_RUNTIME_SLOW: "runtime too slow, the next one computed",
    DegradationReason.DEGRADATION_REASON_RUNTIME_SATURATED: "runtime full, the next one computed",
    DegradationReason.DEGRADATION_REASON_RUNTIME_NOT_READY: "runtime not ready, the next one computed",
    DegradationReason.DEGRADATION_REASON_NODE_FAILED: "optional node failed, gone on without it",
    DegradationReason.DEGRADATION_REASON_FALLBACK: "version failed, the fallback ladder answered",
    DegradationReason.DEGRADATION_REASON_STORE_UNREACHABLE: "feature store out of reach, values last read or defaults taken",
}


def words(name_of: Callable[[Value], str], prefix: str, value: Value) -> str:
    """Return the name of `value` without its prefix, in lower-case words."""
    try:
        return name_of(value).removeprefix(prefix).lower().replace("_", " ")
    except ValueError:
        # A newer service may know more than this command does.
        return f"number {value}"
