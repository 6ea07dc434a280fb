"""The registry's snapshot as the gateway's routing table, with each version's feature plan."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

from predictmesh.features.v1 import features_service_pb2 as features_pb
from predictmesh.registry.v1 import endpoint_pb2, feature_view_pb2, model_pb2, release_pb2
from predictmesh.registry.v1.snapshot_pb2 import Snapshot
from predictmesh.types.v1 import data_type_pb2
from services.gateway.convert_endpoint import endpoint_of
from services.gateway.routing import Endpoint, RoutingTable, Versions
from services.gateway.target import DType, Input, KeyColumn, Output, Source, SourceKind, Target
from services.mesh.selectors import is_version

logger = logging.getLogger(__name__)


class View:
    """What targets need of a feature view."""

    def __init__(self, view: feature_view_pb2.FeatureView) -> None:
        self.schema_id = view.schema_id
        self.entity = view.entity
        self._fields = view.fields

    @cached_property
    def lengths(self) -> dict[str, int]:
        """Elements of each field by its name."""
        return {field.name: field.length or 1 for field in self._fields}


Views = Mapping[str, View]


class Content(NamedTuple):
    """What a model is made of, but for the views that it reads. Digests stand for versions."""

    versions: list[tuple[str, str]]
    aliases: dict[str, str]
    released: list[str]


class TableBuilder:
    """Makes routing tables; what has not changed is taken from the last one, so that a change costs little."""

    def __init__(self) -> None:
        self._log_id = ""
        self._schemas: dict[str, int] = {}
        self._models: dict[str, tuple[Content, Versions]] = {}

    def build(self, snapshot: Snapshot) -> RoutingTable:
        """Return the routing table of `snapshot`, without what cannot be used of it: that is logged."""
        views = {view.name: View(view) for view in snapshot.feature_views}
        # Another log gives the same schema ids to other views.
        known = self._models if snapshot.log_id == self._log_id else {}
        schemas = {name: view.schema_id for name, view in views.items()}
        as_before = schemas == self._schemas
        self._log_id, self._schemas = snapshot.log_id, schemas
        self._models = {
            model.name: _built(model, views, known.get(model.name), as_before=as_before) for model in snapshot.models
        }
        releases = {release.endpoint: release for release in snapshot.releases}
        endpoints = {}
        for endpoint in snapshot.endpoints:
            _, versions = self._models.get(endpoint.model, (None, None))
            built = _endpoint(endpoint, versions, releases.get(endpoint.name))
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


def _built(
    model: model_pb2.Model, views: Views, known: tuple[Content, Versions] | None, *, as_before: bool
) -> tuple[Content, Versions]:
    """Return a model's versions; all or some of the `known` ones, if these and the views are `as_before`."""
    content = Content(
        [(version.version, version.digest) for version in model.versions],
        dict(model.aliases),
        list(model.released_versions),
    )
    if known is not None and as_before and content == known[0]:
        return known
    targets = _targets(model, views, known[1].targets if known else {})
    aliases = {alias: number for alias, number in sorted(content.aliases.items()) if number in targets}
    # Another kind of number, of a newer registry, is in no range.
    released = tuple(number for number in content.released if number in targets and is_version(number))
    return content, Versions(model.name, targets, aliases, released)


def _targets(model: model_pb2.Model, views: Views, known: Mapping[str, Target]) -> dict[str, Target]:
    targets = {}
    for version in model.versions:
        target = known.get(version.version)
        if target is None or not _is_current(target, version.digest, views):
            try:
                target = target_of(model.name, version, views)
            except (LookupError, ValueError):
                # The registry refuses such a version, or is newer than we are; the others must still answer.
                extra = {"model": model.name, "version": version.version}
                logger.exception("a version cannot be used", extra=extra)
                continue
        targets[version.version] = target
    return targets


def _is_current(target: Target, digest: str, views: Views) -> bool:
    """Return whether a target made anew would be the same."""
    schemas = [views[name].schema_id if name in views else None for name in target.views]
    return target.digest == digest and list(target.schema_ids) == schemas


def target_of(model: str, version: model_pb2.Version, views: Views) -> Target:
    """Return a version with its inputs laid out and its feature plan."""
    bindings = {binding.input: binding.sources for binding in version.bindings}
    plan = features_pb.FeaturePlan()
    inputs: list[Input] = []
    used: dict[str, None] = {}
    for spec in version.signature.inputs:
        sources = _laid_out(bindings[spec.name], math.prod(spec.shape), views)
        used |= dict.fromkeys(source.view for source in sources if source.view)
        stored = any(source.view for source in sources)
        dtype = dtype_of(spec.data_type)
        plan_index = len(plan.tensors) if stored else None
        width = math.prod(spec.shape)
        inputs.append(Input(spec.name, dtype, tuple(spec.shape), width, spec.finite, sources, plan_index))
        if stored:
            plan.tensors.add(name=spec.name, data_type=spec.data_type, sources=bindings[spec.name])
    for view in used:
        plan.views.add(view=view, schema_id=views[view].schema_id)
    entities = [views[view].entity for view in used]
    keys = _key_columns(entities)
    return Target(
        model=model,
        version=version.version,
        digest=version.digest,
        keys=keys,
        entities=_key_places(entities, keys),
        inputs=tuple(inputs),
        outputs=tuple(
            Output(spec.name, dtype_of(spec.data_type), tuple(spec.shape), math.prod(spec.shape), spec.finite)
            for spec in version.signature.outputs
        ),
        views=tuple(used),
        schema_ids=tuple(views[view].schema_id for view in used),
        plan_id=hashlib.sha256(plan.SerializeToString(deterministic=True)).digest(),
        plan=plan if used else None,
    )


def _laid_out(sources: Sequence[model_pb2.Source], width: int, views: Views) -> tuple[Source, ...]:
    laid: list[Source] = []
    offset = 0
    for source in sources:
        found = _source(source, offset, width if len(sources) == 1 else 1, views)
        laid.append(found)
        offset += found.width
    return tuple(laid)


def _source(source: model_pb2.Source, offset: int, request_width: int, views: Views) -> Source:
    match source.WhichOneof("kind"):
        case "field":
            view, name = source.field.view, source.field.field
            return Source(SourceKind.FIELD, f"{view}:{name}", view, offset, views[view].lengths[name])
        case "age_of_view":
            return Source(SourceKind.AGE, source.age_of_view, source.age_of_view, offset, 1)
        case _:
            return Source(SourceKind.REQUEST, source.request, "", offset, request_width)


def _key_columns(entities: Sequence[feature_view_pb2.Entity]) -> tuple[KeyColumn, ...]:
    columns = {
        key.name: KeyColumn(key.name, is_int=key.type == feature_view_pb2.KEY_TYPE_INT64)
        for entity in entities
        for key in entity.keys
    }
    return tuple(columns.values())


def _key_places(
    entities: Sequence[feature_view_pb2.Entity], columns: Sequence[KeyColumn]
) -> tuple[tuple[int, ...], ...]:
    """Return the places in `columns` of each entity's columns; entities of the same columns once."""
    place = {column.name: index for index, column in enumerate(columns)}
    return tuple(dict.fromkeys(tuple(place[key.name] for key in entity.keys) for entity in entities))


def dtype_of(number: int) -> DType:
    """Return the element type that the wire numbers so."""
    return DType[data_type_pb2.DataType.Name(number).removeprefix("DATA_TYPE_")]  # type: ignore[arg-type]
