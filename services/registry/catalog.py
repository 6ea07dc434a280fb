"""All definitions at one revision, and what each change of the log makes of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from services.registry.binding import check_binding, views_of
from services.registry.changes import Change, ReleaseChanged, ResourceDeleted, ResourcesApplied, VersionRegistered
from services.registry.definitions import Endpoint, FeatureView, Model, Release, ReleaseState, Route, Version
from services.registry.endpoints import check_endpoint
from services.registry.errors import InvalidDefinition
from services.registry.fallbacks import standing_in
from services.registry.faults import Faults
from services.registry.graphs import check_composed
from services.registry.models import check_model
from services.registry.plans import check_plan
from services.registry.routes import answering, needs_released, resolve
from services.registry.versions import check_content
from services.registry.views import check_entity_agrees, check_schema_ids, check_schemas, check_view

R = TypeVar("R", FeatureView, Model, Endpoint, Release)


@dataclass(frozen=True, slots=True)
class Catalog:
    """Immutable: a change makes another, which shares what has not changed."""

    views: Mapping[str, FeatureView] = field(default_factory=dict)
    models: Mapping[str, Model] = field(default_factory=dict)
    endpoints: Mapping[str, Endpoint] = field(default_factory=dict)
    # The last one of each endpoint that has had one.
    releases: Mapping[str, Release] = field(default_factory=dict)
    # Only ever grows, so that the number of a deleted view is never given again.
    last_schema_id: int = 0
    last_release_id: int = 0

    def after(self, change: Change) -> Catalog:
        """The catalog with the change made; KeyError if it is about something that is not there."""
        match change:
            case ResourcesApplied():
                return self._applied(change)
            case VersionRegistered():
                model = self.models[change.model]
                return self.with_model(replace(model, versions=(*model.versions, change.version)))
            case ResourceDeleted():
                return self._deleted(change)
            case ReleaseChanged():
                return self._release_changed(change.release)

    def versions(self) -> Iterator[tuple[Model, Version]]:
        """Every version with its model."""
        return ((model, version) for model in self.models.values() for version in model.versions)

    def readers_of(self, view: str) -> Iterator[tuple[Model, Version]]:
        """Versions whose binding reads the view."""
        return ((model, version) for model, version in self.versions() if view in views_of(version))

    def answering(self, endpoint: Endpoint) -> tuple[Version, ...]:
        """The versions that answer callers of the endpoint, those of a release under way included."""
        model = self.models.get(endpoint.model)
        if model is None:
            return ()
        found = answering(endpoint.route, model)
        release = self.releases.get(endpoint.name)
        candidate = model.find(release.candidate) if release and release.state.under_way else None
        return (*found, candidate) if candidate and candidate not in found else found

    def serving(self, endpoint: Endpoint) -> tuple[Version, ...]:
        """The versions that answer callers of the endpoint, and those of its ladder, which may."""
        model = self.models.get(endpoint.model)
        found = (*self.answering(endpoint), *standing_in(endpoint, model)) if model else ()
        return tuple({version.version: version for version in found}.values())

    def release_under_way(self, endpoint: str) -> Release | None:
        """The endpoint's release, if it has not ended."""
        release = self.releases.get(endpoint)
        return release if release and release.state.under_way else None

    def _applied(self, change: ResourcesApplied) -> Catalog:
        models = [self.with_own(model) for model in change.models]
        applied = replace(
            self,
            views=_merged(self.views, change.feature_views),
            models=_merged(self.models, models),
            endpoints=_merged(self.endpoints, change.endpoints),
            last_schema_id=max([self.last_schema_id, *(view.schema_id for view in change.feature_views)]),
        )
        touched = {model.name for model in models} | {endpoint.model for endpoint in change.endpoints}
        return applied.without_releases(self._of_other_models(change.endpoints)).with_routed_released(touched)

    def _of_other_models(self, endpoints: Iterable[Endpoint]) -> set[str]:
        """Endpoints that have had another model."""
        return {
            endpoint.name
            for endpoint in endpoints
            if endpoint.name in self.endpoints and self.endpoints[endpoint.name].model != endpoint.model
        }

    def without_releases(self, endpoints: Collection[str]) -> Catalog:
        """The last release of an endpoint goes with the endpoint, or with the model that it was of."""
        left = {name: release for name, release in self.releases.items() if name not in endpoints}
        return self if len(left) == len(self.releases) else replace(self, releases=left)

    def with_own(self, model: Model) -> Model:
        """The model with what the registry keeps of it."""
        present = self.models.get(model.name, Model(model.name))
        return replace(model, versions=present.versions, released_versions=present.released_versions)

    def with_routed_released(self, models: Iterable[str]) -> Catalog:
        """A version that a route names is released."""
        changed = []
        for model in (self.models[name] for name in models if name in self.models):
            routes = [endpoint.route for endpoint in self.endpoints.values() if endpoint.model == model.name]
            routed = [version.version for route in routes for version in answering(route, model)]
            released = tuple(dict.fromkeys((*model.released_versions, *routed)))
            if released != model.released_versions:
                changed.append(replace(model, released_versions=released))
        return replace(self, models=_merged(self.models, changed)) if changed else self

    def _release_changed(self, release: Release) -> Catalog:
        before = self.releases.get(release.endpoint)
        was_promoted = before is not None and before.id == release.id and before.state is ReleaseState.PROMOTED
        changed = replace(
            self,
            releases=_merged(self.releases, (release,), key="endpoint"),
            last_release_id=max(self.last_release_id, release.id),
        )
        if release.state is ReleaseState.PROMOTED and not was_promoted:
            return changed.led_to(release.endpoint, release.candidate)
        if release.state is ReleaseState.ROLLED_BACK and was_promoted:
            return changed.withdrawn(release)
        return changed

    def led_to(self, name: str, version: str) -> Catalog:
        """The endpoint's route leads to the version, which is released; as a shadow it has nothing more to show."""
        endpoint = self.endpoints[name]
        model = self.models[endpoint.model]
        released = tuple(dict.fromkeys((*model.released_versions, version)))
        model = replace(model, released_versions=released)
        route = endpoint.route
        if route.alias:
            model = replace(model, aliases={**model.aliases, route.alias: version})
        elif not route.range:
            route = Route(version=version)
        shadowed = resolve(endpoint.shadow.selector, model) if endpoint.shadow else None
        shadow = None if shadowed and shadowed.version == version else endpoint.shadow
        return self.with_model(model).with_endpoint(replace(endpoint, route=route, shadow=shadow))

    def withdrawn(self, release: Release) -> Catalog:
        """The version before answers again; ranges no longer lead to the other, unless a route needs it."""
        led = self.led_to(release.endpoint, release.stable)
        model = led.models[led.endpoints[release.endpoint].model]
        routes = [endpoint.route for endpoint in led.endpoints.values() if endpoint.model == model.name]
        if any(needs_released(route, model, release.candidate) for route in routes):
            return led
        left = tuple(version for version in model.released_versions if version != release.candidate)
        return led.with_model(replace(model, released_versions=left))

    def _deleted(self, change: ResourceDeleted) -> Catalog:
        match change.kind:
            case "feature_view":
                return replace(self, views=_without(self.views, change.name))
            case "model":
                return replace(self, models=_without(self.models, change.name))
            case "endpoint":
                return replace(self.without_releases({change.name}), endpoints=_without(self.endpoints, change.name))
            case "version":
                model = self.models[change.name]
                left = tuple(version for version in model.versions if version.version != change.version)
                released = tuple(number for number in model.released_versions if number != change.version)
                return self.with_model(replace(model, versions=left, released_versions=released))

    def with_model(self, model: Model) -> Catalog:
        """The catalog with this model in place of the one of its name."""
        return replace(self, models=_merged(self.models, (model,)))

    def with_endpoint(self, endpoint: Endpoint) -> Catalog:
        """The catalog with this endpoint in place of the one of its name."""
        return replace(self, endpoints=_merged(self.endpoints, (endpoint,)))


def _merged(present: Mapping[str, R], changed: Iterable[R], key: str = "name") -> Mapping[str, R]:
    return {**present, **{getattr(resource, key): resource for resource in changed}}


def _without(present: Mapping[str, R], name: str) -> Mapping[str, R]:
    left = dict(present)
    del left[name]
    return left


def check_catalog(catalog: Catalog, faults: Faults) -> None:
    """Every rule that holds at every revision, for definitions that come from elsewhere."""
    for view in catalog.views.values():
        path = f"feature_views[{view.name}]"
        check_view(view, path, faults)
        check_schemas(view, path, faults)
        check_entity_agrees(view, catalog.views.values(), path, faults)
    check_schema_ids(catalog.views.values(), "feature_views", faults)
    for model in catalog.models.values():
        check_model(model, f"models[{model.name}]", faults)
    for model, version in catalog.versions():
        path = f"models[{model.name}].versions[{version.version}]"
        check_content(version, path, faults)
        if version.graph:
            check_composed(version, catalog.models, catalog.views, path, faults)
        else:
            check_binding(version, catalog.views, path, faults)
    for endpoint in catalog.endpoints.values():
        check_endpoint(endpoint, catalog.models, catalog.views, f"endpoints[{endpoint.name}]", faults)
    for release in catalog.releases.values():
        _check_release(catalog, release, f"releases[{release.endpoint}]", faults)


def _check_release(catalog: Catalog, release: Release, path: str, faults: Faults) -> None:
    # A version that was promoted at once has a plan of one step, which nobody may ask for.
    if release.state.under_way:
        check_plan(release.plan, f"{path}.plan", faults)
    endpoint = catalog.endpoints.get(release.endpoint)
    model = catalog.models.get(endpoint.model) if endpoint else None
    if release.state is ReleaseState.UNSPECIFIED or not 0 <= release.step < len(release.plan.steps):
        faults.add(InvalidDefinition, path, "a release has a state, and a step of its plan")
    if release.state.under_way and not (model and model.find(release.stable) and model.find(release.candidate)):
        faults.add(InvalidDefinition, path, "a release under way is of two versions of its endpoint's model")
