"""What it takes to start, hold, resume, promote and roll back a release."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from services.mesh.errors import MissingField
from services.registry.asking import differing
from services.registry.catalog import Catalog
from services.registry.changes import ReleaseChanged
from services.registry.definitions import Endpoint, Model, Release, ReleasePlan, ReleaseState, Version
from services.registry.endpoints import check_endpoint
from services.registry.errors import (
    IncompatibleChange,
    InUse,
    InvalidDefinition,
    NamesUnknownAlias,
    NamesUnknownVersion,
    NoRelease,
    ReleaseActive,
    UnknownEndpoint,
)
from services.registry.faults import Faults
from services.registry.following import check_follower, followers
from services.registry.gatekeeper import Gatekeeper
from services.registry.gates import Gate, refusal
from services.registry.plans import check_plan, completed, metric_fits
from services.registry.routes import resolve


@dataclass(frozen=True, slots=True)
class Candidacy:
    """Who asks that `selector` (a version or alias) may replace the version of an endpoint, at `field` of the request.

    `force` lets it pass in spite of gates.
    """

    endpoint: str
    selector: str
    field: str
    reason: str
    force: bool = False


def plan_start(
    catalog: Catalog, candidacy: Candidacy, plan: ReleasePlan, gatekeeper: Gatekeeper, now: datetime
) -> Release:
    """The release as it starts, at its first step."""
    release = _admitted(catalog, candidacy, completed(plan), gatekeeper, now)
    faults = Faults()
    check_plan(plan, "plan", faults)
    _check_outcomes(catalog.endpoints[candidacy.endpoint], plan, faults)
    faults.check()
    return release


def plan_promotion(catalog: Catalog, candidacy: Candidacy, gatekeeper: Gatekeeper, now: datetime) -> Release:
    """The release under way as it is promoted; without one the version that is asked for, at once."""
    _endpoint(catalog, candidacy.endpoint)
    release = catalog.release_under_way(candidacy.endpoint)
    if release is None:
        at_once = ReleasePlan(steps=(100.0,), false_alarm_rate=completed(ReleasePlan()).false_alarm_rate)
        release = _admitted(catalog, candidacy, at_once, gatekeeper, now)
        return replace(release, state=ReleaseState.PROMOTED)
    model = catalog.models[catalog.endpoints[release.endpoint].model]
    wanted = resolve(candidacy.selector, model) if candidacy.selector else model.find(release.candidate)
    if wanted is None or wanted.version != release.candidate:
        why = f"a release of {release.candidate} is under way: promote that or roll it back first"
        raise ReleaseActive(why, field=candidacy.field)
    forced = _forced_gates(catalog, model, wanted, candidacy, gatekeeper)
    promoted = moved(release, ReleaseState.PROMOTED, now, candidacy.reason, forced=forced)
    check_leading(catalog, promoted, candidacy.field)
    return promoted


def plan_hold(catalog: Catalog, endpoint: str, reason: str, now: datetime) -> Release:
    """The release as it is held; as it is if it is held already."""
    release = _under_way(catalog, endpoint)
    return release if release.state is ReleaseState.HELD else moved(release, ReleaseState.HELD, now, reason)


def plan_resumption(catalog: Catalog, endpoint: str, reason: str, now: datetime) -> Release:
    """The release as it goes on, its step begun anew; as it is if it is running."""
    release = _under_way(catalog, endpoint)
    if release.state is ReleaseState.RUNNING:
        return release
    return replace(moved(release, ReleaseState.RUNNING, now, reason), step_time=now)


def plan_rollback(catalog: Catalog, endpoint: str, reason: str, now: datetime) -> Release:
    """The last release as it is rolled back, under way or promoted."""
    _endpoint(catalog, endpoint)
    release = catalog.releases.get(endpoint)
    if release is None:
        raise NoRelease(f"{endpoint} has had no release", field="endpoint", endpoint=endpoint)
    if release.state is ReleaseState.ROLLED_BACK:
        why = f"{release.candidate} was rolled back at {release.state_time:%F %T}: there is nothing before {release.stable}"
        raise NoRelease(why, field="endpoint", endpoint=endpoint)
    returned = moved(release, ReleaseState.ROLLED_BACK, now, reason)
    if release.state is ReleaseState.PROMOTED:
        _check_returnable(catalog, release)
        check_leading(catalog, returned, "endpoint")
    return returned


def moved(
    release: Release, state: ReleaseState, now: datetime, reason: str, forced: Sequence[str] | None = None
) -> Release:
    """The release in another state."""
    gates = release.forced_gates if forced is None else tuple(forced)
    step = len(release.plan.steps) - 1 if state is ReleaseState.PROMOTED else release.step
    return replace(release, state=state, step=step, state_time=now, reason=reason, forced_gates=gates)


def _admitted(
    catalog: Catalog, candidacy: Candidacy, plan: ReleasePlan, gatekeeper: Gatekeeper, now: datetime
) -> Release:
    """A new release, whose candidate may answer callers and can replace the version that does."""
    endpoint = _endpoint(catalog, candidacy.endpoint)
    under_way = catalog.release_under_way(endpoint.name)
    if under_way:
        why = f"a release of {under_way.candidate} is under way: promote it or roll it back first"
        raise ReleaseActive(why, field="endpoint", endpoint=endpoint.name)
    model = catalog.models[endpoint.model]
    stable, candidate = _stable(catalog, endpoint), _candidate(candidacy, model)
    if stable.version == candidate.version:
        raise InvalidDefinition(f"{candidate.version} answers {endpoint.name} already", field=candidacy.field)
    otherwise = differing(stable, candidate, catalog.views)
    if otherwise:
        why = f"{candidate.version} does not take what callers of {endpoint.name} send: {', '.join(otherwise)}"
        raise IncompatibleChange(f"{why}; give it an endpoint of its own", field=candidacy.field)
    release = Release(
        endpoint=endpoint.name,
        id=catalog.last_release_id + 1,
        stable=stable.version,
        candidate=candidate.version,
        plan=plan,
        state=ReleaseState.RUNNING,
        step=0,
        start_time=now,
        step_time=now,
        state_time=now,
        reason=candidacy.reason,
    )
    check_leading(catalog, replace(release, state=ReleaseState.PROMOTED), candidacy.field)
    return replace(release, forced_gates=_forced_gates(catalog, model, candidate, candidacy, gatekeeper))


def _endpoint(catalog: Catalog, name: str) -> Endpoint:
    endpoint = catalog.endpoints.get(name)
    if endpoint is None:
        raise UnknownEndpoint(f"there is no endpoint {name!r}", field="endpoint", endpoint=name)
    return endpoint


def _under_way(catalog: Catalog, endpoint: str) -> Release:
    _endpoint(catalog, endpoint)
    release = catalog.release_under_way(endpoint)
    if release is None:
        raise NoRelease(f"{endpoint} has no release under way", field="endpoint", endpoint=endpoint)
    return release


def _stable(catalog: Catalog, endpoint: Endpoint) -> Version:
    """The one version that answers now."""
    found = catalog.answering(endpoint)
    if endpoint.route.weights or len(found) != 1:
        why = "weights part the requests among several versions: route the endpoint to one, then release"
        raise InvalidDefinition(f"{endpoint.name}: {why}", field="endpoint")
    return found[0]


def _candidate(candidacy: Candidacy, model: Model) -> Version:
    if not candidacy.selector:
        raise MissingField("name the version that is to answer", field=candidacy.field)
    found = resolve(candidacy.selector, model)
    if found:
        return found
    kind = NamesUnknownAlias if candidacy.selector[:1].isalpha() else NamesUnknownVersion
    known = ", ".join(version.version for version in model.versions)
    raise kind(f"there is no {model.name}@{candidacy.selector}; it has {known}", field=candidacy.field)


def check_leading(catalog: Catalog, release: Release, field: str) -> None:
    """A release that is promoted, or rolled back after that, leads its endpoint to the version that it says.

    And nobody who cannot follow, nor by an alias anybody else.
    """
    endpoint = catalog.endpoints[release.endpoint]
    _check_alias(catalog, endpoint)
    wanted = release.candidate if release.state is ReleaseState.PROMOTED else release.stable
    following = catalog.after(ReleaseChanged(release))
    led = [version.version for version in following.answering(following.endpoints[endpoint.name])]
    if led != [wanted]:
        why = (
            f"the range {endpoint.route.range} would still lead to {', '.join(led)}: route {endpoint.name} to a version"
        )
        raise InvalidDefinition(why, field=field)
    faults = Faults()
    check_endpoint(following.endpoints[endpoint.name], following.models, following.views, "endpoint", faults)
    if faults:
        why = f"{wanted} cannot answer {endpoint.name}: {'; '.join(faults.descriptions)}"
        raise IncompatibleChange(why, field=field)
    for follower in followers(catalog, following, {endpoint.name}):
        check_follower(catalog, following, follower, field, faults)
    faults.check()


def _check_alias(catalog: Catalog, endpoint: Endpoint) -> None:
    """The alias that leads the endpoint leads no other."""
    alias = endpoint.route.alias
    others = [
        each.name
        for each in catalog.endpoints.values()
        if alias and each.model == endpoint.model and each.name != endpoint.name and alias in each.route.selectors
    ]
    if others:
        why = f"alias {alias} also leads {', '.join(others)}, which would follow unguarded: route one of them otherwise"
        raise InUse(why, field="endpoint", users=", ".join(others))


def _check_outcomes(endpoint: Endpoint, plan: ReleasePlan, faults: Faults) -> None:
    """A quality guard has outcomes to go by."""
    if plan.quality is None:
        return
    if endpoint.outcomes is None:
        why = f"would never act: {endpoint.name} keeps no outcomes; apply it with an outcome policy first"
        faults.add(InvalidDefinition, "plan.quality", why)
    elif not metric_fits(plan.quality.metric, endpoint.outcomes.kind):
        why = f"{plan.quality.metric} is no measure of {endpoint.outcomes.kind} outcomes, which {endpoint.name} keeps"
        faults.add(InvalidDefinition, "plan.quality.metric", why)


def _forced_gates(
    catalog: Catalog, model: Model, version: Version, candidacy: Candidacy, gatekeeper: Gatekeeper
) -> tuple[str, ...]:
    """Names of the gates that force lets it pass; GateFailed where nobody forces."""
    found: tuple[Gate, ...] = gatekeeper.failed(catalog, model, version)
    if found and not candidacy.force:
        raise refusal(model.name, version.version, found)
    return tuple(gate.name for gate in found)


def _check_returnable(catalog: Catalog, release: Release) -> None:
    """The promoted version still answers, and the one before is still there."""
    endpoint = catalog.endpoints[release.endpoint]
    led = [version.version for version in catalog.answering(endpoint)]
    if led != [release.candidate]:
        why = f"{release.candidate} was promoted, but {', '.join(led)} answers now: the route has been changed since"
        raise NoRelease(why, field="endpoint", endpoint=release.endpoint)
    stable = catalog.models[endpoint.model].find(release.stable)
    if stable is None or (stable.create_time or release.start_time) > release.start_time:
        what = "registered anew" if stable else "deleted"
        why = f"{release.stable}, which answered before, has been {what}: promote another version"
        raise NoRelease(why, field="endpoint", endpoint=release.endpoint)
