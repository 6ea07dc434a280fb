"""The fallback ladder of an endpoint as the gateway takes its steps, for each version that the endpoint's route leads to."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from predictmesh.registry.v1 import endpoint_pb2
from services.gateway.convert_rows import one_row
from services.gateway.ladder.steps import Fallback, LastAnswerStep, StaticStep, VersionStep, places_of
from services.gateway.routing import Versions
from services.gateway.target import Target

logger = logging.getLogger(__name__)


def fallbacks_of(
    endpoint: endpoint_pb2.Endpoint, versions: Versions, targets: Iterable[Target]
) -> Mapping[Target, tuple[Fallback, ...]]:
    """Return the ladder of each of the route's `targets`, without steps that cannot be used: that is logged.

    A version is no step of its own ladder, and no second one where several lead to it.
    """
    if not endpoint.fallbacks:
        return {}
    return {target: tuple(_steps(endpoint, versions, target)) for target in targets}


def _steps(endpoint: endpoint_pb2.Endpoint, versions: Versions, target: Target) -> Iterable[Fallback]:
    asked = {target}
    for index, fallback in enumerate(endpoint.fallbacks):
        try:
            step = _step(fallback, versions, target)
        except (LookupError, ValueError, OverflowError):
            # The registry refuses such a step, or is newer than we are; the others still stand.
            extra = {"endpoint": endpoint.name, "step": index, "route_version": target.version}
            logger.exception("a fallback cannot be used", extra=extra)
            continue
        if isinstance(step, VersionStep):
            if step.target in asked:
                continue
            asked.add(step.target)
        yield step


def _step(fallback: endpoint_pb2.Fallback, versions: Versions, target: Target) -> Fallback:
    match fallback.WhichOneof("kind"):
        case "version":
            found = versions.find(fallback.version)
            if found is None:
                raise LookupError(f"{fallback.version!r} leads to no version")
            return VersionStep(found, places_of(target.outputs, found.outputs))
        case "last_answer_max_age_ms":
            if not target.keys:
                raise ValueError("without entity keys no answer is found again")
            return LastAnswerStep(fallback.last_answer_max_age_ms / 1000)
        case "answer":
            return StaticStep(one_row(fallback.answer.outputs, target.outputs))
        case kind:
            raise ValueError(f"there is no fallback of kind {kind}")
