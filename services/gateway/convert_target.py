"""A version of the registry's snapshot as what predictions aim at: its inputs laid out, with its feature plan."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property

from predictmesh.features.v1 import features_service_pb2 as features_pb
from predictmesh.registry.v1 import feature_view_pb2, model_pb2
from predictmesh.types.v1 import data_type_pb2
from services.gateway.convert_graph import Feeds, Find, graph_of
from services.gateway.target import DType, Input, KeyColumn, Output, Source, SourceKind, Target


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


def target_of(model: str, version: model_pb2.Version, views: Views, find: Find) -> Target:
    """Return a version with its inputs laid out and its feature plan; `find` is asked for what it is composed of.

    Raises LookupError or ValueError if it takes what is not there, or is of what is not known here.
    """
    bindings = {binding.input: binding.sources for binding in version.bindings}
    composed = version.HasField("graph")
    layout = _Layout(views, shared=composed)
    for spec in version.signature.inputs:
        layout.add(spec, bindings[spec.name])
    used = tuple(layout.used)
    plan = layout.plan
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
        inputs=tuple(layout.inputs),
        outputs=tuple(
            Output(spec.name, dtype_of(spec.data_type), tuple(spec.shape), math.prod(spec.shape), spec.finite)
            for spec in version.signature.outputs
        ),
        views=used,
        schema_ids=tuple(views[view].schema_id for view in used),
        plan_id=hashlib.sha256(plan.SerializeToString(deterministic=True)).digest(),
        plan=plan if used else None,
        graph=graph_of(version.graph, Feeds(layout.inputs, layout.places), find) if composed else None,
    )


class _Layout:
    """Inputs with their sources laid out, and the plan of those that stored values fill.

    Where they are `shared`, inputs of one type and shape that take the same are one, so that it is read and packed once.
    """

    def __init__(self, views: Views, *, shared: bool) -> None:
        self.inputs: list[Input] = []
        self.places: dict[str, int] = {}
        self.used: dict[str, None] = {}
        self.plan = features_pb.FeaturePlan()
        self._views = views
        self._shared = shared
        self._alike: dict[Input, int] = {}

    def add(self, spec: model_pb2.TensorSpec, bound: Sequence[model_pb2.Source]) -> None:
        width = math.prod(spec.shape)
        sources = _laid_out(bound, width, self._views)
        feed = Input(spec.name, dtype_of(spec.data_type), tuple(spec.shape), width, spec.finite, sources, None)
        place = self._alike.setdefault(replace(feed, name=""), len(self.inputs)) if self._shared else len(self.inputs)
        self.places[spec.name] = place
        if place < len(self.inputs):
            return
        read = [source.view for source in sources if source.view]
        self.used |= dict.fromkeys(read)
        self.inputs.append(replace(feed, plan_index=len(self.plan.tensors)) if read else feed)
        if read:
            self.plan.tensors.add(name=spec.name, data_type=spec.data_type, sources=bound)


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
