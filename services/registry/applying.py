"""What it takes to apply resources: they are checked together, as they will be, and change together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from services.mesh.errors import MissingField
from services.registry.binding import check_binding
from services.registry.catalog import Catalog
from services.registry.changes import ResourcesApplied
from services.registry.definitions import Endpoint, FeatureView, Model, Resource, Version
from services.registry.diff import Action, ResourceChange, compare
from services.registry.endpoints import check_endpoint, check_sample, resolve
from services.registry.errors import IncompatibleChange, InUse, InvalidDefinition, VersionNotReady
from services.registry.faults import Faults
from services.registry.models import check_model
from services.registry.views import check_entity_agrees, check_evolution, check_view, with_schema

WhyNotReady = Callable[[str, Version], str]
"""Of a model's name and a version: why it may not answer, or empty if it may."""

_FIELD_OF = {FeatureView: "feature_view", Model: "model", Endpoint: "endpoint"}


@dataclass(frozen=True, slots=True)
class Application:
    """What applying changes, resource by resource; no `event` where nothing does."""

    changes: tuple[ResourceChange, ...]
    event: ResourcesApplied | None


def plan_apply(catalog: Catalog, resources: Sequence[Resource | None], why_not_ready: WhyNotReady) -> Application:
    """Check the resources together and say what applying them changes; raises one error with every fault."""
    faults = Faults()
    _check_request(resources, faults)
    # Without a kind and a name of its own, a resource cannot be checked further.
    faults.check()
    given = [resource for resource in resources if resource is not None]
    wanted = _completed(catalog, given)
    changes = tuple(compare(_present(catalog, resource), resource) for resource in wanted)
    moved = {
        f"resources[{index}].{_FIELD_OF[type(resource)]}": resource
        for index, (resource, change) in enumerate(zip(wanted, changes, strict=True))
        if change.action is not Action.UNCHANGED
    }
    event = _event(list(moved.values()))
    _Check(catalog, catalog.after(event), why_not_ready, faults).run(moved)
    faults.check()
    return Application(changes, event if moved else None)


def _check_request(resources: Sequence[Resource | None], faults: Faults) -> None:
    if not resources:
        faults.add(MissingField, "resources", "there is nothing to apply")
    seen: set[tuple[type, str]] = set()
    for index, resource in enumerate(resources):
        if resource is None:
            faults.add(MissingField, f"resources[{index}]", "a resource is a feature view, a model or an endpoint")
        elif (type(resource), resource.name) in seen:
            at = f"resources[{index}].{_FIELD_OF[type(resource)]}.name"
            faults.add(InvalidDefinition, at, f"{resource.name!r} is there twice")
        else:
            seen.add((type(resource), resource.name))


def _completed(catalog: Catalog, resources: Sequence[Resource]) -> list[Resource]:
    """The resources with what the registry adds to them."""
    completed: list[Resource] = []
    next_id = catalog.last_schema_id + 1
    for resource in resources:
        if isinstance(resource, FeatureView):
            view = with_schema(resource, catalog.views.get(resource.name), next_id)
            next_id = max(next_id, view.schema_id + 1)
            completed.append(view)
        elif isinstance(resource, Model):
            present = catalog.models.get(resource.name)
            completed.append(replace(resource, versions=present.versions if present else ()))
        else:
            completed.append(resource)
    return completed


def _present(catalog: Catalog, resource: Resource) -> Resource | None:
    match resource:
        case FeatureView():
            return catalog.views.get(resource.name)
        case Model():
            return catalog.models.get(resource.name)
        case Endpoint():
            return catalog.endpoints.get(resource.name)


def _event(resources: Sequence[Resource]) -> ResourcesApplied:
    return ResourcesApplied(
        feature_views=tuple(each for each in resources if isinstance(each, FeatureView)),
        models=tuple(replace(each, versions=()) for each in resources if isinstance(each, Model)),
        endpoints=tuple(each for each in resources if isinstance(each, Endpoint)),
    )


@dataclass(frozen=True, slots=True)
class _Check:
    """Checks resources that change, each at its path, against the catalog that they make together."""

    old: Catalog
    new: Catalog
    why_not_ready: WhyNotReady
    faults: Faults

    def run(self, moved: dict[str, Resource]) -> None:
        """Note every fault."""
        for path, resource in moved.items():
            match resource:
                case FeatureView():
                    self._view(resource, path)
                case Model():
                    self._model(resource, path, moved)
                case Endpoint():
                    self._endpoint(resource, path)

    def _view(self, view: FeatureView, path: str) -> None:
        check_view(view, path, self.faults)
        check_entity_agrees(view, self.new.views.values(), path, self.faults)
        present = self.old.views.get(view.name)
        if present:
            check_evolution(present, view, path, self.faults)
            self._readers(view, path)

    def _readers(self, view: FeatureView, path: str) -> None:
        for model, version in self.new.readers_of(view.name):
            broken = Faults()
            check_binding(version, self.new.views, "", broken)
            if broken:
                why = f"{model.name}@{version.version} reads it: {broken.descriptions[0]}"
                self.faults.add(IncompatibleChange, path, why)

    def _model(self, model: Model, path: str, moved: dict[str, Resource]) -> None:
        check_model(model, path, self.faults)
        changed = {resource.name for resource in moved.values() if isinstance(resource, Endpoint)}
        for endpoint in self.new.endpoints.values():
            alias = endpoint.route.alias
            if endpoint.model == model.name and endpoint.name not in changed and alias and alias not in model.aliases:
                self.faults.add(InUse, f"{path}.aliases", f"endpoint {endpoint.name} is routed to alias {alias}")
        present = self.old.models.get(model.name)
        for alias, number in model.aliases.items():
            if present is None or present.aliases.get(alias) != number:
                self._ready(model, model.find(number), f"{path}.aliases.{alias}")

    def _endpoint(self, endpoint: Endpoint, path: str) -> None:
        check_endpoint(endpoint, self.new.models, path, self.faults)
        model = self.new.models.get(endpoint.model)
        version = resolve(endpoint.route, model) if model else None
        if model is None or version is None:
            return
        check_sample(endpoint, version, self.new.views, path, self.faults)
        present = self.old.endpoints.get(endpoint.name)
        if present is None or (present.model, present.route) != (endpoint.model, endpoint.route):
            self._ready(model, version, f"{path}.route")

    def _ready(self, model: Model, version: Version | None, path: str) -> None:
        why = self.why_not_ready(model.name, version) if version else ""
        if why:
            self.faults.add(VersionNotReady, path, why)
