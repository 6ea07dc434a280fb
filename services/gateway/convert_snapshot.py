"""The registry's snapshot as the gateway's routing table, with each version's feature plan."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Mapping, Sequence

from predictmesh.features.v1 import features_service_pb2 as features_pb
from predictmesh.registry.v1 import endpoint_pb2, feature_view_pb2, model_pb2
from predictmesh.registry.v1.snapshot_pb2 import Snapshot
from predictmesh.types.v1 import data_type_pb2
from services.gateway.routing import Endpoint, Route, RouteReason, RoutingTable
from services.gateway.target import DType, Input, KeyColumn, Output, Source, SourceKind, Target

logger = logging.getLogger(__name__)
DEFAULT_TIMEOUT_MS = 1000

Views = Mapping[str, feature_view_pb2.FeatureView]
TargetKey = tuple[str, str, str, tuple[tuple[str, int], ...]]


class TableBuilder:
    """Makes routing tables; a version that has not changed keeps the target it had, so that a change costs little."""

    def __init__(self) -> None:
        self._targets: dict[TargetKey, Target] = {}
        self._log_id = ""

    def build(self, snapshot: Snapshot) -> RoutingTable:
        """Return the routing table of `snapshot`, without what cannot be used of it: that is logged."""
        views = {view.name: view for view in snapshot.feature_views}
        # Another log gives the same schema ids to other views.
        known = self._targets if snapshot.log_id == self._log_id else {}
        self._targets, self._log_id = {}, snapshot.log_id
        models = {model.name: self._versions(model, views, known) for model in snapshot.models}
        aliases = {model.name: dict(model.aliases) for model in snapshot.models}
        endpoints = {}
        for endpoint in snapshot.endpoints:
            built = _endpoint(endpoint, models.get(endpoint.model, {}), aliases.get(endpoint.model, {}))
            if built is not None:
                endpoints[endpoint.name] = built
        return RoutingTable(snapshot.revision, endpoints)

    def _versions(
        self, model: model_pb2.Model, views: Views, known: Mapping[TargetKey, Target]
    ) -> Mapping[str, Target]:
        versions: dict[str, Target] = {}
        for version in model.versions:
            key = (model.name, version.version, version.digest, _schemas(version, views))
            try:
                target = known.get(key) or target_of(model.name, version, views)
            except (LookupError, ValueError):
                # The registry refuses such a version, or is newer than we are; the others must still answer.
                extra = {"model": model.name, "version": version.version}
                logger.exception("a version cannot be used", extra=extra)
                continue
            self._targets[key] = versions[version.version] = target
        return versions


def _schemas(version: model_pb2.Version, views: Views) -> tuple[tuple[str, int], ...]:
    """Return the views that a version reads with the schema ids they have now: what its target depends on besides itself."""
    named = {_view_of(source) for binding in version.bindings for source in binding.sources}
    return tuple((name, views[name].schema_id) for name in sorted(named) if name in views)


def _view_of(source: model_pb2.Source) -> str:
    return source.field.view or source.age_of_view


def _endpoint(
    endpoint: endpoint_pb2.Endpoint, versions: Mapping[str, Target], aliases: Mapping[str, str]
) -> Endpoint | None:
    by_alias = endpoint.route.WhichOneof("kind") == "alias"
    version = aliases.get(endpoint.route.alias, "") if by_alias else endpoint.route.version
    if version not in versions:
        # The registry refuses such an endpoint; one that slips through must not take the others with it.
        logger.error("endpoint without a version", extra={"endpoint": endpoint.name, "route": str(endpoint.route)})
        return None
    reason = RouteReason.ENDPOINT_ALIAS if by_alias else RouteReason.ENDPOINT_VERSION
    return Endpoint(
        name=endpoint.name,
        description=endpoint.description,
        model=endpoint.model,
        default=Route(versions[version], reason),
        versions=versions,
        aliases={alias: version for alias, version in sorted(aliases.items()) if version in versions},
        default_timeout_s=(endpoint.default_timeout_ms or DEFAULT_TIMEOUT_MS) / 1000,
        sample_entities=tuple(endpoint.sample_entities),
        sample_features=tuple(endpoint.sample_features),
    )


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
