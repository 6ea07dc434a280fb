"""All definitions at one revision, and what each change of the log makes of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from services.registry.binding import check_binding, views_of
from services.registry.changes import Change, ResourceDeleted, ResourcesApplied, VersionRegistered
from services.registry.definitions import Endpoint, FeatureView, Model, Version
from services.registry.endpoints import check_endpoint
from services.registry.faults import Faults
from services.registry.models import check_model
from services.registry.versions import check_content
from services.registry.views import check_entity_agrees, check_schema_ids, check_schemas, check_view

R = TypeVar("R", FeatureView, Model, Endpoint)


@dataclass(frozen=True, slots=True)
class Catalog:
    """Immutable: a change makes another, which shares what has not changed."""

    views: Mapping[str, FeatureView] = field(default_factory=dict)
    models: Mapping[str, Model] = field(default_factory=dict)
    endpoints: Mapping[str, Endpoint] = field(default_factory=dict)
    # Only ever grows, so that the number of a deleted view is never given again.
    last_schema_id: int = 0

    def after(self, change: Change) -> Catalog:
        """The catalog with the change made; KeyError if it is about something that is not there."""
        match change:
            case ResourcesApplied():
                return self._applied(change)
            case VersionRegistered():
                model = self.models[change.model]
                return self._with_model(replace(model, versions=(*model.versions, change.version)))
            case ResourceDeleted():
                return self._deleted(change)

    def versions(self) -> Iterator[tuple[Model, Version]]:
        """Every version with its model."""
        return ((model, version) for model in self.models.values() for version in model.versions)

    def readers_of(self, view: str) -> Iterator[tuple[Model, Version]]:
        """Versions whose binding reads the view."""
        return ((model, version) for model, version in self.versions() if view in views_of(version))

    def _applied(self, change: ResourcesApplied) -> Catalog:
        models = [
            replace(model, versions=self.models[model.name].versions if model.name in self.models else ())
            for model in change.models
        ]
        return Catalog(
            views=_merged(self.views, change.feature_views),
            models=_merged(self.models, models),
            endpoints=_merged(self.endpoints, change.endpoints),
            last_schema_id=max([self.last_schema_id, *(view.schema_id for view in change.feature_views)]),
        )

    def _deleted(self, change: ResourceDeleted) -> Catalog:
        match change.kind:
            case "feature_view":
                return replace(self, views=_without(self.views, change.name))
            case "model":
                return replace(self, models=_without(self.models, change.name))
            case "endpoint":
                return replace(self, endpoints=_without(self.endpoints, change.name))
            case "version":
                model = self.models[change.name]
                left = tuple(version for version in model.versions if version.version != change.version)
                return self._with_model(replace(model, versions=left))

    def _with_model(self, model: Model) -> Catalog:
        return replace(self, models=_merged(self.models, (model,)))


def _merged(present: Mapping[str, R], changed: Iterable[R]) -> Mapping[str, R]:
    return {**present, **{resource.name: resource for resource in changed}}


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
        check_binding(version, catalog.views, path, faults)
    for endpoint in catalog.endpoints.values():
        check_endpoint(endpoint, catalog.models, f"endpoints[{endpoint.name}]", faults)
