"""What it takes to delete a resource: nothing else may name it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from services.mesh.errors import MissingField
from services.registry.catalog import Catalog
from services.registry.changes import ResourceDeleted
from services.registry.definitions import Endpoint, Model, Resource
from services.registry.errors import InUse, ReleaseActive, UnknownEndpoint, UnknownModel, UnknownView
from services.registry.following import release_first
from services.registry.graphs import nodes_with
from services.registry.lookup import find_version
from services.registry.routes import resolve
from services.registry.versions import uploads_of


@dataclass(frozen=True, slots=True)
class Upload:
    """An artifact or golden set, by its SHA-256 (hex)."""

    sha256: str


def check_unused(catalog: Catalog, upload: Upload) -> None:
    """Raise InUse if a version needs the upload."""
    users = [
        f"{model.name}@{version.version}"
        for model, version in catalog.versions()
        if upload.sha256 in uploads_of(version)
    ]
    _refuse_if_used(f"artifact {upload.sha256[:64]}", "artifact", users)


def plan_deletion(catalog: Catalog, target: ResourceDeleted | None) -> ResourceDeleted:
    """Check that `target` is there and can go."""
    if target is None:
        raise MissingField("name a feature view, a model, a version, an endpoint or an artifact", field="target")
    match target.kind:
        case "feature_view":
            _check_view(catalog, target.name)
        case "model":
            _check_model(catalog, target.name)
        case "version":
            _check_version(catalog, target.name, target.version)
        case "endpoint":
            _check_endpoint(catalog, target.name)
    return target


def _require(
    present: Mapping[str, Resource], name: str, error: type[UnknownEndpoint | UnknownModel | UnknownView], kind: str
) -> None:
    if name not in present:
        raise error(f"there is no {kind.replace('_', ' ')} {name!r}", field=kind, name=name)


def _check_view(catalog: Catalog, name: str) -> None:
    _require(catalog.views, name, UnknownView, "feature_view")
    readers = [f"{model.name}@{version.version}" for model, version in catalog.readers_of(name)]
    _refuse_if_used(f"feature view {name}", "feature_view", readers)


def _check_endpoint(catalog: Catalog, name: str) -> None:
    _require(catalog.endpoints, name, UnknownEndpoint, "endpoint")
    if catalog.release_under_way(name):
        raise ReleaseActive(release_first(name), field="endpoint", endpoint=name)


def _check_model(catalog: Catalog, name: str) -> None:
    _require(catalog.models, name, UnknownModel, "model")
    users = [f"endpoint {endpoint.name}" for endpoint in catalog.endpoints.values() if endpoint.model == name]
    others = [user for model, user in _composers(catalog, name) if model != name]
    _refuse_if_used(f"model {name}", "model", users + others)


def _check_version(catalog: Catalog, name: str, number: str) -> None:
    find_version(catalog.models, name, number, path="version")
    model = catalog.models[name]
    aliases = [f"alias {alias}" for alias, target in model.aliases.items() if target == number]
    endpoints = [endpoint for endpoint in catalog.endpoints.values() if endpoint.model == name]
    users = [user for endpoint in endpoints for user in _users_at(catalog, endpoint, model, number)]
    composers = [user for _, user in _composers(catalog, name, number)]
    _refuse_if_used(f"{name}@{number}", "version", aliases + users + composers)


def _composers(catalog: Catalog, name: str, number: str = "") -> list[tuple[str, str]]:
    """What is composed of the model, or of that version of it: the model of each such version, and its nodes in words."""
    return [
        (model.name, f"node {node} of {model.name}@{version.version}")
        for model, version in catalog.versions()
        for node in nodes_with(version, name, number)
    ]


def _users_at(catalog: Catalog, endpoint: Endpoint, model: Model, number: str) -> list[str]:
    """What at an endpoint leads to the version, whether by its number, an alias or a range."""
    users = [
        f"the route of endpoint {endpoint.name}" + (f" ({selector})" if selector != number else "")
        for selector in endpoint.route.selectors
        if _leads_to(selector, model, number)
    ]
    if endpoint.shadow and _leads_to(endpoint.shadow.selector, model, number):
        users.append(f"the shadow of endpoint {endpoint.name}")
    users += [
        f"the fallbacks of endpoint {endpoint.name}" + (f" ({step.version})" if step.version != number else "")
        for step in endpoint.fallbacks
        if step.version and _leads_to(step.version, model, number)
    ]
    release = catalog.releases.get(endpoint.name)
    if release and release.state.under_way and number in {release.stable, release.candidate}:
        users.append(f"the release of endpoint {endpoint.name} that is under way")
    return users


def _leads_to(selector: str, model: Model, number: str) -> bool:
    version = resolve(selector, model)
    return version is not None and version.version == number


def _refuse_if_used(what: str, field: str, users: list[str]) -> None:
    if users:
        shown = ", ".join(users[:5]) + (f" and {len(users) - 5} more" if len(users) > 5 else "")
        raise InUse(f"{what} is named by {shown}", field=field, users=", ".join(users[:20]))
