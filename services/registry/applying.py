"""What it takes to apply resources: they are checked together, as they will be, and change together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from services.mesh.errors import MissingField
from services.registry.catalog import Catalog
from services.registry.changes import ResourcesApplied
from services.registry.definitions import Endpoint, FeatureView, Model, Resource
from services.registry.diff import Action, ResourceChange, compare
from services.registry.errors import InvalidDefinition
from services.registry.fallbacks import completed_ladder
from services.registry.faults import Faults
from services.registry.gatekeeper import Gatekeeper
from services.registry.vetting import Vetting, Waivers
from services.registry.views import with_schema

_FIELD_OF = {FeatureView: "feature_view", Model: "model", Endpoint: "endpoint"}


@dataclass(frozen=True, slots=True)
class Application:
    """What applying changes, resource by resource; no `event` where nothing does."""

    changes: tuple[ResourceChange, ...]
    event: ResourcesApplied | None


def plan_apply(
    catalog: Catalog, resources: Sequence[Resource | None], gatekeeper: Gatekeeper, waivers: Waivers
) -> Application:
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
    vetting = Vetting(catalog, catalog.after(event), gatekeeper, waivers, faults)
    vetting.run(moved)
    faults.check()
    return Application(changes, replace(event, forced=tuple(vetting.forced)) if moved else None)


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
    given = {resource.name: catalog.with_own(resource) for resource in resources if isinstance(resource, Model)}
    models = {**catalog.models, **given}
    next_id = catalog.last_schema_id + 1
    for resource in resources:
        if isinstance(resource, FeatureView):
            view = with_schema(resource, catalog.views.get(resource.name), next_id)
            next_id = max(next_id, view.schema_id + 1)
            completed.append(view)
        elif isinstance(resource, Model):
            completed.append(models[resource.name])
        else:
            completed.append(completed_ladder(resource, models.get(resource.model)))
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
        models=tuple(replace(each, versions=(), released_versions=()) for each in resources if isinstance(each, Model)),
        endpoints=tuple(each for each in resources if isinstance(each, Endpoint)),
    )
