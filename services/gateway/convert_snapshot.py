"""The registry's snapshot as the gateway's routing table, with each version's feature plan."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Mapping, Sequence

from predictmesh.features.v1 import features_service_pb2 as features_pb
from predictmesh.registry.v1 import feature_view_pb2, model_pb2
from predictmesh.registry.v1.snapshot_pb2 import Snapshot
from predictmesh.types.v1 import data_type_pb2
from services.gateway.convert_endpoint import endpoint_of
from services.gateway.routing import RoutingTable, Versions
from services.gateway.target import DType, Input, KeyColumn, Output, Source, SourceKind, Target

logger = logging.getLogger(__name__)

Views = Mapping[str, feature_view_pb2.FeatureView]
TargetKey = tuple[str, str, str, tuple[tuple[str, int], ...]]


class TableBuilder:
    """Makes routing tables; what has not changed is taken from the last one, so that a change costs little."""

    def __init__(self) -> None:
        self._targets: dict[TargetKey, Target] = {}
        self._models: dict[str, Versions] = {}
        self._log_id = ""

    def build(self, snapshot: Snapshot) -> RoutingTable:
        """Return the routing table of `snapshot`, without what cannot be used of it: that is logged."""
        views = {view.name: view for view in snapshot.feature_views}
        # Another log gives the same schema ids to other views.
        known = self._targets if snapshot.log_id == self._log_id else {}
        self._targets, self._log_id = {}, snapshot.log_id
        self._models = {model.name: self._versions(model, views, known) for model in snapshot.models}
        releases = {release.endpoint: release for release in snapshot.releases}
        endpoints = {}
        for endpoint in snapshot.endpoints:
            built = endpoint_of(endpoint, self._models.get(endpoint.model), releases.get(endpoint.name))
            if built is not None:
                endpoints[endpoint.name] = built
        return RoutingTable(snapshot.revision, endpoints, snapshot.log_id)

    def _versions(self, model: model_pb2.Model, views: Views, known: Mapping[TargetKey, Target]) -> Versions:
        targets: dict[str, Target] = {}
        for version in model.versions:
            key = (model.name, version.version, version.digest, _schemas(version, views))
            try:
                target = known.get(key) or target_of(model.name, version, views)
            except (LookupError, ValueError):
                # The registry refuses such a version, or is newer than we are; the others must still answer.
                extra = {"model": model.name, "version": version.version}
                logger.exception("a version cannot be used", extra=extra)
                continue
            self._targets[key] = targets[version.version] = target
        aliases = {alias: version for alias, version in sorted(model.aliases.items()) if version in targets}
        released = tuple(version for version in model.released_versions if version in targets)
        return Versions(model.name, targets, aliases, released)


def _schemas(version: model_pb2.Version, views: Views) -> tuple[tuple[str, int], ...]:
    """Return the views that a version reads with the schema ids they have now: what its target depends on besides itself."""
    named = {_view_of(source) for binding in version.bindings for source in binding.sources}
    return tuple((name, views[name].schema_id) for name in sorted(named) if name in views)


def _view_of(source: model_pb2.Source) -> str:
    return source.field.view or source.age_of_view


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
        keys=keys,
        entities=_key_places(entities, keys),
        inputs=tuple(inputs),
        outputs=tuple(
            Output(spec.name, dtype_of(spec.data_type), tuple(spec.shape), math.prod(spec.shape), spec.finite)
            for spec in version.signature.outputs
        ),
        views=tuple(used),
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
            lengths = {field.name: field.length for field in views[view].fields}
            return Source(SourceKind.FIELD, f"{view}:{name}", view, offset, lengths[name] or 1)
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
