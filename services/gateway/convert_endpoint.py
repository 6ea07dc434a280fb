"""An endpoint of the registry's snapshot as the gateway routes by it: shares, release, shadow, outcomes."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from predictmesh.registry.v1 import endpoint_pb2, release_pb2
from services.gateway.convert_fallbacks import fallbacks_of
from services.gateway.policies import OutcomeKind, OutcomePolicy, Shadow
from services.gateway.routing import Arm, Endpoint, Route, RouteReason, Versions
from services.gateway.splitting import Split

logger = logging.getLogger(__name__)
DEFAULT_TIMEOUT_MS = 1_000
DEFAULT_EXPIRE_MS = 7 * 24 * 3_600_000
UNDER_WAY = frozenset({release_pb2.RELEASE_STATE_RUNNING, release_pb2.RELEASE_STATE_HELD})
_REASONS = {
    "version": RouteReason.ENDPOINT_VERSION,
    "alias": RouteReason.ENDPOINT_ALIAS,
    "range": RouteReason.ENDPOINT_RANGE,
}

Shares = Sequence[tuple[Route, float]]


def endpoint_of(
    endpoint: endpoint_pb2.Endpoint, versions: Versions | None, release: release_pb2.Release | None
) -> Endpoint | None:
    """Return the endpoint without what cannot be used of it; None if no version would answer. Either is logged.

    The registry refuses such definitions; one that slips through must not take the others with it.
    """
    split = _split(endpoint, versions, release) if versions else None
    if versions is None or split is None:
        logger.error("endpoint without a version", extra={"endpoint": endpoint.name, "route": str(endpoint.route)})
        return None
    return Endpoint(
        name=endpoint.name,
        description=endpoint.description,
        versions=versions,
        split=split,
        sticky_key=endpoint.sticky_key,
        shadow=_shadow(endpoint, versions),
        outcomes=_outcomes(endpoint),
        fallbacks=fallbacks_of(endpoint, versions, [route.target for route, _ in split.shares()]),
        default_timeout_s=(endpoint.default_timeout_ms or DEFAULT_TIMEOUT_MS) / 1000,
        sample_entities=tuple(endpoint.sample_entities),
        sample_features=tuple(endpoint.sample_features),
    )


def _split(
    endpoint: endpoint_pb2.Endpoint, versions: Versions, release: release_pb2.Release | None
) -> Split[Route] | None:
    if release is not None and release.state in UNDER_WAY:
        shares = _release_shares(endpoint, versions, release)
        if shares:
            # With the release's id, so that the same callers are not the first ones each time.
            return Split(f"{endpoint.name}/{release.id}", shares)
    shares = _weights(endpoint, versions) if endpoint.route.weights else _route(endpoint.route, versions)
    return Split(endpoint.name, shares) if shares else None


def _release_shares(endpoint: endpoint_pb2.Endpoint, versions: Versions, release: release_pb2.Release) -> Shares:
    """Return the candidate and the stable version; nothing if one of them cannot be used, so that the route holds."""
    candidate, stable = versions.find(release.candidate), versions.find(release.stable)
    if candidate is None or stable is None or release.step >= len(release.plan.steps):
        logger.error("release that cannot be used", extra={"endpoint": endpoint.name, "release": release.id})
        return ()
    percent = release.plan.steps[release.step]
    of_candidate = Arm(endpoint.name, release.id, release.step, candidate.version)
    of_stable = of_candidate._replace(version=stable.version)
    return (
        (Route(candidate, RouteReason.CANARY, of_candidate), percent),
        (Route(stable, RouteReason.STABLE, of_stable), 100 - percent),
    )


def _weights(endpoint: endpoint_pb2.Endpoint, versions: Versions) -> Shares:
    shares: list[tuple[Route, float]] = []
    for weight in endpoint.route.weights:
        target = versions.find(weight.selector)
        if target is None:
            logger.error("weight without a version", extra={"endpoint": endpoint.name, "selector": weight.selector})
        else:
            shares.append((Route(target, RouteReason.ENDPOINT_WEIGHT), weight.percent))
    return shares


def _route(route: endpoint_pb2.Route, versions: Versions) -> Shares:
    kind = route.WhichOneof("kind") or "version"
    target = versions.find(getattr(route, kind))
    return ((Route(target, _REASONS[kind]), 100.0),) if target else ()


def _shadow(endpoint: endpoint_pb2.Endpoint, versions: Versions) -> Shadow | None:
    if not endpoint.HasField("shadow"):
        return None
    shadow = endpoint.shadow
    target = versions.find(shadow.selector)
    if target is None:
        logger.error("shadow without a version", extra={"endpoint": endpoint.name, "selector": shadow.selector})
        return None
    return Shadow(target, shadow.percent, shadow.absolute_tolerance, shadow.relative_tolerance)


def _outcomes(endpoint: endpoint_pb2.Endpoint) -> OutcomePolicy | None:
    if not endpoint.HasField("outcomes"):
        return None
    policy = endpoint.outcomes
    try:
        kind = OutcomeKind(policy.kind)
    except ValueError:
        logger.exception("outcomes of an unknown kind", extra={"endpoint": endpoint.name})
        return None
    return OutcomePolicy(
        output=policy.output,
        element=policy.element,
        kind=kind,
        sample_percent=policy.sample_percent or 100.0,
        expire_ms=policy.expire_ms or DEFAULT_EXPIRE_MS,
        capture_percent=policy.capture_percent,
    )
