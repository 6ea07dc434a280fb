"""Which versions answer an endpoint, and what its fallback ladder leads to, by the registry's definitions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from predictmesh.registry.v1.endpoint_pb2 import Endpoint, Fallback
from predictmesh.registry.v1.model_pb2 import Model, Version
from predictmesh.registry.v1.release_pb2 import Release, ReleaseState
from services.cli import durations
from services.cli.errors import Mistake
from services.cli.graphs.reading import values_text
from services.mesh.selectors import resolve

_UNDER_WAY = {ReleaseState.RELEASE_STATE_RUNNING, ReleaseState.RELEASE_STATE_HELD}


@dataclass(frozen=True)
class Answering:
    """A version that answers a share of an endpoint's requests, in percent; `why` is empty where the route names it."""

    version: Version
    percent: float
    why: str


def answering(endpoint: Endpoint, model: Model, releases: Iterable[Release]) -> list[Answering]:
    """Return what answers requests without a pin."""
    for release in releases:
        if release.endpoint == endpoint.name and release.state in _UNDER_WAY:
            return list(_released(release, model))
    route = endpoint.route
    if route.weights:
        return [Answering(find(model, each.selector), each.percent, "weight") for each in route.weights]
    kind = route.WhichOneof("kind") or "version"
    selector = getattr(route, kind)
    return [Answering(find(model, selector), 100, "" if kind == "version" else f"{kind} {selector}")]


def _released(release: Release, model: Model) -> Iterator[Answering]:
    percent = release.plan.steps[release.step]
    yield Answering(find(model, release.stable), 100 - percent, f"stable of release {release.id}")
    yield Answering(find(model, release.candidate), percent, f"candidate of release {release.id}")


def find(model: Model, selector: str) -> Version:
    """Return the version that a number, an alias or a range leads to. Mistake if it leads nowhere."""
    versions = _versions(model)
    found = resolve(selector, versions, model.aliases, model.released_versions)
    if found is None:
        raise Mistake(
            f"model {model.name!r} has no version, alias or range {selector!r} [UNKNOWN_VERSION] "
            f"(`predictmesh models show {model.name}` lists them)"
        )
    return versions[found]


def _versions(model: Model) -> Mapping[str, Version]:
    return {version.version: version for version in model.versions}


@dataclass(frozen=True)
class Step:
    """A step of a fallback ladder in words, and as metrics call it."""

    text: str
    subject: str


def ladder(endpoint: Endpoint, model: Model) -> list[Step]:
    """Return the steps of the endpoint's fallback ladder."""
    return [_step(fallback, model) for fallback in endpoint.fallbacks]


def _step(fallback: Fallback, model: Model) -> Step:
    if fallback.HasField("answer"):
        return Step(f"answer {values_text(fallback.answer.outputs)}", "answer")
    if fallback.HasField("last_answer_max_age_ms"):
        oldest = durations.exact(fallback.last_answer_max_age_ms)
        return Step(f"last answer for the same keys, at most {oldest} old", "last_answer")
    version = resolve(fallback.version, _versions(model), model.aliases, model.released_versions)
    # A range may have been left without a version.
    leads = "" if version == fallback.version else f", now {version or 'none'}"
    return Step(f"version {fallback.version}{leads}", f"version {version}" if version else "")
