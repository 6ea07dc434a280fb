"""Plans compiled against the views: every decision that does not depend on the rows is taken here, once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.features.codec import ViewCodec
from services.features.errors import TypeMismatch, UnknownField, ViewNotKnownYet
from services.features.keys import KeyEncoder, encoder
from services.features.plan import AgeSource, FieldSource, Plan, PlanTensor, PlanView, RequestSource
from services.features.views import FLOATS, NUMPY, Catalog, DataType, FeatureState, Field, StalePolicy, View
from services.mesh.errors import InvalidArgument

NO_LIMIT_US = 2**63 - 1

_STALE_STATES = {
    StalePolicy.SERVE: FeatureState.STALE_SERVED,
    StalePolicy.DEFAULT: FeatureState.STALE_DEFAULTED,
    StalePolicy.REJECT: FeatureState.STALE_REJECTED,
}


@dataclass(frozen=True)
class Part:
    """One stored source: elements `start:stop` of a tensor come from a field (an age where it is -1) of a view."""

    tensor: int
    source: int
    field: int
    start: int
    stop: int
    # What takes the place of null: an array of the elements, texts, or None where the type has no null.
    default: npt.NDArray[np.generic] | tuple[bytes, ...] | None = None
    defaulted: bool = False


@dataclass(frozen=True)
class Run:
    """Adjacent fields that are adjacent elements of a tensor too: one assignment."""

    name: str
    tensor: int
    start: int
    stop: int


@dataclass(frozen=True)
class CompiledTensor:
    """Shape and type of one tensor; `dtype` is None for BYTES."""

    dtype: np.dtype[np.generic] | None
    elements: int
    sources: int


@dataclass(frozen=True)
class CompiledView:
    """How to read one view and where its values go."""

    view: View
    codec: ViewCodec
    dtype: np.dtype[np.void]
    key_suffix: bytes
    runs: tuple[Run, ...]
    fields: tuple[Part, ...]
    ages: tuple[Part, ...]
    # For parts of BYTES: the place of the field among the view's BYTES fields.
    texts: tuple[tuple[Part, int], ...]


@dataclass(frozen=True)
class CompiledEntity:
    """Views of one entity: their keys are encoded once."""

    columns: tuple[str, ...]
    encode: KeyEncoder
    views: tuple[int, ...]


@dataclass(frozen=True)
class CompiledPlan:
    """A plan ready to run. `limits_us` is the oldest fresh age of each view, `stale_states` what a value older than
    that becomes: the number of a FeatureState.
    """

    views: tuple[CompiledView, ...]
    entities: tuple[CompiledEntity, ...]
    tensors: tuple[CompiledTensor, ...]
    limits_us: npt.NDArray[np.uint64]
    stale_states: npt.NDArray[np.uint8]


def compile_plan(plan: Plan, catalog: Catalog) -> CompiledPlan:
    """Compile a plan against the views. Raises what is wrong with it, with the path of the field."""
    views = [_known_view(index, each, catalog) for index, each in enumerate(plan.views)]
    places = {view.name: index for index, view in enumerate(views)}
    if not plan.tensors or len(places) != len(views):
        raise InvalidArgument("A plan has at least one tensor, and each view once", field="plan")
    parts: list[list[Part]] = [[] for _ in views]
    tensors = []
    for index, tensor in enumerate(plan.tensors):
        end = 0
        for number, source in enumerate(tensor.sources):
            if isinstance(source, RequestSource):
                end += 1
                continue
            path = f"plan.tensors[{index}].sources[{number}]"
            place = places.get(source.view)
            if place is None:
                raise InvalidArgument(f"Source of view {source.view!r}, which the plan does not list", field=path)
            part = _part(tensor, views[place], source, (index, number, end), path)
            parts[place].append(part)
            end = part.stop
        tensors.append(CompiledTensor(NUMPY.get(tensor.data_type), end, len(tensor.sources)))
    compiled = tuple(_compile_view(view, own, tensors) for view, own in zip(views, parts, strict=True))
    limits = [view.max_age_us or NO_LIMIT_US for view in views]
    stale = [_STALE_STATES[view.policy] for view in views]
    return CompiledPlan(
        compiled, _entities(views), tuple(tensors), np.array(limits, np.uint64), np.array(stale, np.uint8)
    )


def _known_view(index: int, wanted: PlanView, catalog: Catalog) -> View:
    view = catalog.views.get(wanted.view)
    if view is None:
        raise ViewNotKnownYet(f"No view {wanted.view!r} is known here", field=f"plan.views[{index}].view")
    if wanted.schema_id != view.schema_id and wanted.schema_id not in view.schemas:
        raise ViewNotKnownYet(
            f"Schema {wanted.schema_id} of view {wanted.view!r} is not known here",
            field=f"plan.views[{index}].schema_id",
        )
    return view


def _part(
    tensor: PlanTensor, view: View, source: FieldSource | AgeSource, place: tuple[int, int, int], path: str
) -> Part:
    index, number, start = place
    if isinstance(source, AgeSource):
        _check_type(tensor, DataType.FP32, f"the age of view {view.name!r}", path)
        return Part(index, number, -1, start, start + 1)
    place_in_view = view.field_index.get(source.field)
    if place_in_view is None:
        raise UnknownField(f"View {view.name!r} has no field {source.field!r}", field=path)
    field = view.fields[place_in_view]
    _check_type(tensor, field.data_type, f"field {view.name}:{field.name}", path)
    default, defaulted = _default(field)
    return Part(index, number, place_in_view, start, start + field.elements, default, defaulted)


def _check_type(tensor: PlanTensor, data_type: DataType, what: str, path: str) -> None:
    if tensor.data_type is not data_type:
        message = f"Tensor {tensor.name!r} is {tensor.data_type.name}, {what} is {data_type.name}"
        raise TypeMismatch(message, field=path)


def _default(field: Field) -> tuple[npt.NDArray[np.generic] | tuple[bytes, ...] | None, bool]:
    """Return what takes the place of null, and whether it is the field's own default."""
    if field.default is None:
        nan = np.full(field.elements, np.nan, NUMPY[field.data_type]) if field.data_type in FLOATS else None
        return nan, False
    if field.data_type is DataType.BYTES:
        return tuple(each for each in field.default if isinstance(each, bytes)), True
    return np.array(field.default, NUMPY[field.data_type]), True


def _compile_view(view: View, parts: Sequence[Part], tensors: Sequence[CompiledTensor]) -> CompiledView:
    codec = ViewCodec(view)
    numbers = [part for part in parts if part.field >= 0 and tensors[part.tensor].dtype is not None]
    texts = [part for part in parts if part.field >= 0 and tensors[part.tensor].dtype is None]
    runs, formats = [], {}
    for number, members in enumerate(_adjacent(view, codec, numbers)):
        first, last = members[0], members[-1]
        name = f"r{number}"
        runs.append(Run(name, first.tensor, first.start, last.stop))
        formats[name] = (view.fields[first.field].data_type, last.stop - first.start, codec.layout.offsets[first.field])
    return CompiledView(
        view=view,
        codec=codec,
        dtype=codec.layout.dtype_of(formats),
        key_suffix=view.name.encode(),
        runs=tuple(runs),
        fields=tuple(part for part in parts if part.field >= 0),
        ages=tuple(part for part in parts if part.field < 0),
        texts=tuple((part, codec.layout.texts.index(part.field)) for part in texts),
    )


def _adjacent(view: View, codec: ViewCodec, parts: Sequence[Part]) -> list[list[Part]]:
    """Group parts that lie side by side in the row and in the tensor."""
    groups: list[list[Part]] = []
    for part in parts:
        if groups:
            last = groups[-1][-1]
            width = NUMPY[view.fields[last.field].data_type].itemsize * view.fields[last.field].elements
            beside = codec.layout.offsets[last.field] + width == codec.layout.offsets[part.field]
            if beside and last.tensor == part.tensor and last.stop == part.start:
                groups[-1].append(part)
                continue
        groups.append([part])
    return groups


def _entities(views: Sequence[View]) -> tuple[CompiledEntity, ...]:
    members: dict[str, list[int]] = {}
    for index, view in enumerate(views):
        members.setdefault(view.entity.name, []).append(index)
    entities = []
    for indexes in members.values():
        entity = views[indexes[0]].entity
        columns = tuple(column.name for column in entity.columns)
        entities.append(CompiledEntity(columns, encoder(entity), tuple(indexes)))
    return tuple(entities)
