"""The registry's snapshot as the gateway's routing table."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from predictmesh.registry.v1 import endpoint_pb2, model_pb2, release_pb2
from predictmesh.registry.v1.snapshot_pb2 import Snapshot
from services.gateway.convert_endpoint import endpoint_of
from services.gateway.convert_target import View, Views, target_of
from services.gateway.graph.nodes import ModelNode
from services.gateway.routing import Endpoint, RoutingTable, Versions
from services.gateway.target import Target
from services.mesh.selectors import is_version

logger = logging.getLogger(__name__)


class Content(NamedTuple):
    """What a model is made of, but for the views that it reads. A version is its number, its digest, and if it is composed.

    `nodes` are what its composed versions are made of, None where that is not there.
    """

    versions: list[tuple[str, str, bool]]
    aliases: dict[str, str]
    released: list[str]
    nodes: list[Target | None]


class Built(NamedTuple):
    """A model's versions, made of `content`; the `plain` ones are not composed."""

    content: Content
    plain: Mapping[str, Target]
    versions: Versions


class TableBuilder:
    """Makes routing tables; what has not changed is taken from the last one, so that a change costs little."""

    def __init__(self) -> None:
        self._log_id = ""
        self._schemas: dict[str, int] = {}
        self._models: dict[str, Built] = {}

    def build(self, snapshot: Snapshot) -> RoutingTable:
        """Return the routing table of `snapshot`, without what cannot be used of it: that is logged."""
        views = {view.name: View(view) for view in snapshot.feature_views}
        # Another log gives the same schema ids to other views.
        known = self._models if snapshot.log_id == self._log_id else {}
        schemas = {name: view.schema_id for name, view in views.items()}
        models = _Models(views, known, as_before=schemas == self._schemas)
        self._log_id, self._schemas = snapshot.log_id, schemas
        self._models = models.build(snapshot.models)
        releases = {release.endpoint: release for release in snapshot.releases}
        endpoints = {}
        for endpoint in snapshot.endpoints:
            model = self._models.get(endpoint.model)
            built = _endpoint(endpoint, model.versions if model else None, releases.get(endpoint.name))
            if built is not None:
                endpoints[endpoint.name] = built
        ids = {name: release.id for name, release in releases.items()}
        return RoutingTable(snapshot.revision, endpoints, snapshot.log_id, ids)


def _endpoint(
    endpoint: endpoint_pb2.Endpoint, versions: Versions | None, release: release_pb2.Release | None
) -> Endpoint | None:
    try:
        return endpoint_of(endpoint, versions, release)
    except (LookupError, ValueError):
        # As with versions: the others must still answer, and by this snapshot.
        logger.exception("an endpoint cannot be used", extra={"endpoint": endpoint.name})
        return None


class _Models:
    """Makes the models of one snapshot from the `known` ones of the last, if the views are `as_before` from them alone."""

    def __init__(self, views: Views, known: Mapping[str, Built], *, as_before: bool) -> None:
        self._views = views
        self._known = known
        self._as_before = as_before
        self._versions: dict[str, list[tuple[str, str, bool]]] = {}
        self._plain: dict[str, Mapping[str, Target]] = {}

    def build(self, models: Iterable[model_pb2.Model]) -> dict[str, Built]:
        """Return all models by name."""
        self._versions = {
            model.name: [(each.version, each.digest, each.HasField("graph")) for each in model.versions]
            for model in models
        }
        # All of these first: composed versions are made of those of any model.
        self._plain = {model.name: self._plain_of(model) for model in models}
        return {model.name: self._built(model) for model in models}

    def _plain_of(self, model: model_pb2.Model) -> Mapping[str, Target]:
        known = self._known.get(model.name)
        if known is not None and self._as_before and known.content.versions == self._versions[model.name]:
            return known.plain
        versions = (version for version in model.versions if not version.HasField("graph"))
        return self._targets(model.name, versions, known.plain if known else {})

    def _built(self, model: model_pb2.Model) -> Built:
        versions = self._versions[model.name]
        composed = [model.versions[place] for place, (_, _, is_composed) in enumerate(versions) if is_composed]
        content = Content(versions, dict(model.aliases), list(model.released_versions), self._nodes(composed))
        known = self._known.get(model.name)
        if known is not None and self._as_before and content == known.content:
            return known
        plain = self._plain[model.name]
        found = {**plain, **self._targets(model.name, composed, known.versions.targets if known else {})}
        targets = {number: found[number] for number, _, _ in versions if number in found}
        aliases = {alias: number for alias, number in sorted(content.aliases.items()) if number in targets}
        # Another kind of number, of a newer registry, is in no range.
        released = tuple(number for number in content.released if number in targets and is_version(number))
        return Built(content, plain, Versions(model.name, targets, aliases, released))

    def _targets(
        self, model: str, versions: Iterable[model_pb2.Version], known: Mapping[str, Target]
    ) -> dict[str, Target]:
        targets = {}
        for version in versions:
            target = known.get(version.version)
            if target is None or not self._is_current(target, version.digest):
                try:
                    target = target_of(model, version, self._views, self._find)
                except (LookupError, OverflowError, ValueError):
                    # The registry refuses such a version, or is newer than we are; the others must still answer.
                    extra = {"model": model, "version": version.version}
                    logger.exception("a version cannot be used", extra=extra)
                    continue
            targets[version.version] = target
        return targets

    def _is_current(self, target: Target, digest: str) -> bool:
        """Return whether a target made anew would be the same."""
        schemas = [self._views[name].schema_id if name in self._views else None for name in target.views]
        nodes = [node.target for node in target.graph.nodes if isinstance(node, ModelNode)] if target.graph else []
        return (
            target.digest == digest
            and list(target.schema_ids) == schemas
            and all(self._node(node.model, node.version) is node for node in nodes)
        )

    def _nodes(self, composed: Iterable[model_pb2.Version]) -> list[Target | None]:
        models = [node.model for version in composed for node in version.graph.nodes if node.HasField("model")]
        return [self._node(model.model, model.version) for model in models]

    def _node(self, model: str, number: str) -> Target | None:
        return self._plain.get(model, {}).get(number)

    def _find(self, model: str, number: str) -> Target:
        found = self._node(model, number)
        if found is None:
            raise LookupError(f"there is no {model}@{number} that could be a node")
        return found
