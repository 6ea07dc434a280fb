"""Definitions for the gateway's tests, and the two services behind it in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from predictmesh.registry.v1 import endpoint_pb2, feature_view_pb2, model_pb2, release_pb2
from predictmesh.registry.v1.snapshot_pb2 import Snapshot
from predictmesh.types.v1.data_type_pb2 import DataType
from services.gateway.assembly import pack, unpacked, zeros
from services.gateway.checks import member_of
from services.gateway.convert_target import View, target_of
from services.gateway.prediction import (
    NOT_STORED,
    DegradationReason,
    FeatureRows,
    FeatureState,
    Inference,
    Outcome,
    RuntimeSource,
)
from services.gateway.request import Column, Member, PredictCall
from services.gateway.target import DType, Input, Output, SourceKind, Target
from services.mesh.context import CallContext, current
from services.mesh.deadline import Deadline
from services.mesh.errors import Code, MeshError, Reason, RemoteError

AS_OF_US = 1_700_000_000_000_000
POISON, LATE, BROKEN, ELSEWHERE = b"poison", b"late", b"broken", b"elsewhere"


def view(name: str = "rider", *fields: str, schema_id: int = 1, entity: str = "", **keys: str) -> Any:
    """A view keyed by `rider_id` unless told otherwise; fields as name:TYPE or name:TYPE:length."""
    made = feature_view_pb2.FeatureView(name=name, schema_id=schema_id)
    made.entity.name = entity or name
    for key, kind in (keys or {f"{name}_id": "STRING"}).items():
        made.entity.keys.add(name=key, type=feature_view_pb2.KeyType.Value(f"KEY_TYPE_{kind}"))
    for text in fields:
        label, kind, *length = text.split(":")
        made.fields.add(name=label, data_type=_data_type(kind), length=int(length[0]) if length else 0)
    return made


def version(
    inputs: Mapping[str, Sequence[str]], outputs: Sequence[str] = ("y:FP32",), number: str = "1.0.0", digest: str = "d"
) -> Any:
    """A version; inputs as {"name:TYPE[:dimension]*[:finite]": sources}, a source is view:field, view.age or a name."""
    made = model_pb2.Version(version=number, digest=digest)
    for text, sources in inputs.items():
        spec = _spec(text, made.signature.inputs.add())
        made.bindings.add(input=spec.name, sources=map(_source, sources))
    for text in outputs:
        _spec(text, made.signature.outputs.add())
    return made


def target(inputs: Mapping[str, Sequence[str]], *views: Any, outputs: Sequence[str] = ("y:FP32",)) -> Target:
    """The target of one version that reads these views."""
    return target_of("m", version(inputs, outputs), {each.name: View(each) for each in views}, _no_nodes)


def _no_nodes(model: str, number: str) -> Target:
    raise LookupError(f"{model}@{number}")


def snapshot(
    *views: Any,
    versions: Sequence[Any] = (),
    endpoints: Sequence[Any] = (),
    releases: Sequence[Any] = (),
    released: Sequence[str] = (),
    revision: int = 1,
    **aliases: str,
) -> Snapshot:
    """Definitions of one model, m, with an endpoint of the same name that its alias `live` or first version answers."""
    model = model_pb2.Model(name="m", versions=versions, aliases=aliases, released_versions=released)
    if not endpoints and versions:
        route = endpoint_pb2.Route(alias="live") if "live" in aliases else endpoint_pb2.Route(version="1.0.0")
        endpoints = (endpoint_pb2.Endpoint(name="m", model="m", route=route),)
    return Snapshot(
        revision=revision,
        log_id="log",
        feature_views=views,
        models=[model],
        endpoints=endpoints,
        releases=releases,
    )


def endpoint(route: Mapping[str, str] | Sequence[tuple[str, float]], name: str = "m", **parts: Any) -> Any:
    """An endpoint of model m, by one selector such as {"alias": "live"}, or by selectors with their percent."""
    if isinstance(route, Mapping):
        made = endpoint_pb2.Route(**route)  # type: ignore[arg-type]  # one of its text fields
    else:
        weights = [endpoint_pb2.WeightedVersion(selector=selector, percent=percent) for selector, percent in route]
        made = endpoint_pb2.Route(weights=weights)
    return endpoint_pb2.Endpoint(name=name, model="m", route=made, **parts)


def release(
    stable: str, candidate: str, *steps: float, step: int = 0, state: str = "RUNNING", number: int = 7, name: str = "m"
) -> Any:
    """A release at endpoint m, by the shares of its steps."""
    return release_pb2.Release(
        endpoint=name,
        id=number,
        stable=stable,
        candidate=candidate,
        plan=release_pb2.ReleasePlan(steps=steps),
        state=release_pb2.ReleaseState.Value(f"RELEASE_STATE_{state}"),
        step=step,
    )


def _spec(text: str, spec: Any) -> Any:
    spec.name, kind, *rest = text.split(":")
    spec.data_type = _data_type(kind)
    spec.finite = "finite" in rest
    spec.shape.extend(int(size) for size in rest if size != "finite")
    return spec


def _data_type(kind: str) -> Any:
    return DataType.Value(f"DATA_TYPE_{kind}")


def _source(text: str) -> model_pb2.Source:
    if ":" in text:
        name, label = text.split(":")
        return model_pb2.Source(field=model_pb2.FieldSource(view=name, field=label))
    if text.endswith(".age"):
        return model_pb2.Source(age_of_view=text.removesuffix(".age"))
    return model_pb2.Source(request=text)


_KINDS: dict[type, str] = {str: "strings", bool: "bools", int: "ints", float: "floats", bytes: "blobs"}


def column(name: str, *values: Any, kind: str = "", nulls: Sequence[int] = (), shape: Sequence[int] = ()) -> Column:
    """A column of a request; the kind follows from the values unless given."""
    return Column(name, kind or (_KINDS[type(values[0])] if values else ""), list(values), nulls, shape)


def call(*entities: Column, features: Sequence[Column] = (), endpoint: str = "m", **parts: Any) -> PredictCall:
    """A request for endpoint m."""
    fixed = {"pin": "", "as_of_us": AS_OF_US, "prediction_id": "", "deadline": None}
    return PredictCall(endpoint, entities=list(entities), features=list(features), **{**fixed, **parts})


def member(
    aim: Target,
    *entities: Column,
    features: Sequence[Column] = (),
    seconds: float = 5,
    running: CallContext | None = None,
    explain: bool = False,
) -> Member:
    """A request for a target, with so much time."""
    request = call(*entities, features=features, explain=explain)
    return member_of(request, aim, Deadline.after(seconds), running)


@dataclass
class StoredRow:
    """What is stored under a key: values by view:field, age and state by view. What is not said is a fresh zero.

    Of views that are `unreached` it is what the service remembers.
    """

    values: dict[str, Any] = field(default_factory=dict)
    ages_us: dict[str, int] = field(default_factory=dict)
    states: dict[str, FeatureState] = field(default_factory=dict)
    unreached: frozenset[str] = frozenset()


class MemoryFeatures:
    """The feature service: a row by its first key column. None as a value is null. Closed `gate` holds calls."""

    def __init__(self, rows: Mapping[object, StoredRow] | None = None) -> None:
        self.rows = rows or {}
        self.calls: list[Sequence[Sequence[object]]] = []
        self.as_of_us: list[Sequence[int]] = []
        self.deadlines: list[Deadline] = []
        self.contexts: list[CallContext | None] = []
        self.failures: list[MeshError] = []
        self.cancelled = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def get(
        self,
        target: Target,
        keys: Sequence[Sequence[str] | Sequence[int]],
        as_of_us: Sequence[int],
        deadline: Deadline,
        *,
        want_origins: bool,
    ) -> FeatureRows:
        self.calls.append(keys)
        self.as_of_us.append(as_of_us)
        self.deadlines.append(deadline)
        self.contexts.append(current())
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.failures:
            raise self.failures.pop(0)
        rows = [self.rows.get(key, StoredRow()) for key in keys[0]]
        return feature_rows(target, rows, want_origins=want_origins)


def feature_rows(target: Target, rows: Sequence[StoredRow], *, want_origins: bool = False) -> FeatureRows:
    """The rows packed as the feature service packs them."""
    planned = [feed for feed in target.inputs if feed.plan_index is not None]
    missing: list[tuple[int, int, int]] = []
    tensors = [_packed(feed, index, rows, missing) for index, feed in enumerate(planned)]
    ages = [row.ages_us.get(name, 0) for row in rows for name in target.views]
    statuses = [
        (number, index, row.states[name])
        for number, row in enumerate(rows)
        for index, name in enumerate(target.views)
        if name in row.states
    ]
    origins = [bytes(_origin(source, row) for row in rows for source in feed.sources) for feed in planned]
    unreached = {
        index: {number for number, row in enumerate(rows) if name in row.unreached}
        for index, name in enumerate(target.views)
        if any(name in row.unreached for row in rows)
    }
    return FeatureRows(
        tensors,
        memoryview(np.array(ages, np.int64).tobytes()).cast("q"),
        statuses,
        missing,
        origins * want_origins,
        unreached=unreached,
    )


def _packed(feed: Input, tensor: int, rows: Sequence[StoredRow], missing: list[tuple[int, int, int]]) -> bytes:
    array = zeros(feed.dtype, len(rows) * feed.width).reshape(len(rows), feed.width)
    for number, row in enumerate(rows):
        for place, source in enumerate(feed.sources):
            value = _value(source.kind, source.name, row, feed.dtype)
            if value is None:
                missing.append((number, tensor, place))
            else:
                array[number, source.offset : source.offset + source.width] = value
    return pack(array, feed.dtype)


def _value(kind: SourceKind, name: str, row: StoredRow, dtype: DType) -> Any:
    if kind is SourceKind.AGE:
        age = row.ages_us.get(name, 0)
        return np.nan if age == NOT_STORED else age / 1e6
    empty = b"" if dtype is DType.BYTES else 0
    if kind is SourceKind.REQUEST:
        return empty
    value = row.values.get(name, empty)
    return np.nan if value is None and dtype.is_float else value


def _origin(source: Any, row: StoredRow) -> int:
    if source.kind is SourceKind.REQUEST:
        return 0
    if row.values.get(source.name, 0) is None:
        return 3
    if row.states.get(source.view) in {FeatureState.ABSENT, FeatureState.STALE_DEFAULTED}:
        return 2
    return 4 if source.view in row.unreached else 1


class MemoryModel:
    """The model service: each output of a row depends on all inputs of that row, and on nothing else.

    A BYTES input of a row that says so makes the row late or broken, lets the next runtime compute it (elsewhere), or
    fails the whole call (poison). Closed `gate` holds calls.
    """

    def __init__(self) -> None:
        self.calls: list[list[bytes]] = []
        self.remaining_ms: list[Sequence[int]] = []
        self.failures: list[Exception] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def infer(
        self, target: Target, tensors: Sequence[bytes], remaining_ms: Sequence[int], deadline: Deadline
    ) -> Inference:
        self.calls.append(list(tensors))
        self.remaining_ms.append(remaining_ms)
        await self.gate.wait()
        if self.failures:
            raise self.failures.pop(0)
        arrays = [unpacked(packed, feed.dtype, feed.width) for packed, feed in zip(tensors, target.inputs, strict=True)]
        rows = len(remaining_ms)
        assert {rows} == {len(array) for array in arrays}
        texts = [_texts(arrays, row) for row in range(rows)]
        if any(POISON in text for text in texts):
            raise RemoteError(Code.INTERNAL, Reason.RUNTIME_FAILED, "the runtime failed")
        failed = {row: _CODES[mark] for row, text in enumerate(texts) for mark in _CODES if mark in text}
        outputs = [_answer(output, arrays, texts) for output in target.outputs]
        return Inference(outputs, failed, *computed_by([ELSEWHERE in text for text in texts]))


def computed_by(elsewhere: Sequence[bool]) -> tuple[tuple[RuntimeSource, ...], npt.NDArray[np.uint8] | None]:
    """The sources of rows of which some were computed by the second runtime, and each row's if they differ."""
    sources = (RuntimeSource("memory"), RuntimeSource("disk", DegradationReason.RUNTIME_FAILED, "memory"))
    if len(set(elsewhere)) == 1:
        return sources[elsewhere[0] :][:1], None
    return sources, np.array(elsewhere, np.uint8)


_CODES = {LATE: int(Code.DEADLINE_EXCEEDED), BROKEN: int(Code.INTERNAL)}


def _texts(arrays: Sequence[npt.NDArray[Any]], row: int) -> bytes:
    return b"|".join(value for array in arrays if array.dtype == object for value in array[row])


def _answer(output: Output, arrays: Sequence[npt.NDArray[Any]], texts: Sequence[bytes]) -> npt.NDArray[Any]:
    if output.dtype is DType.BYTES:
        found = np.empty((len(texts), 1), object)
        found[:, 0] = texts
        return found
    numbers = [array.astype(np.float64).sum(axis=1) for array in arrays if array.dtype != object]
    total = 1.0 + np.sum(numbers, axis=0) if numbers else np.ones(len(texts))
    if not output.dtype.is_float:
        total = np.nan_to_num(total, nan=-1.0)
    return np.repeat(total[:, np.newaxis], output.width, axis=1).astype(output.dtype.numpy)


def comparable(outcome: Outcome | BaseException) -> object:
    """What must not depend on who travelled along: everything but durations and the size of the batch."""
    if isinstance(outcome, BaseException):
        return _fault(outcome)
    explained = outcome.explanation
    return (
        [_values(output) for output in outcome.outputs],
        {row: _fault(error) for row, error in outcome.row_errors.items()},
        outcome.ages_us,
        sorted((found.reason.name, found.subject, tuple(found.rows)) for found in outcome.degradations),
        outcome.runtime,
        explained
        and (
            [_values(array) for array in explained.arrays],
            explained.origins,
            explained.statuses,
            explained.from_request,
        ),
    )


def _fault(error: BaseException) -> object:
    assert isinstance(error, MeshError), repr(error)
    return error.code, error.reason, str(error)


def _values(array: npt.NDArray[Any]) -> object:
    # As text, so that NaN is equal to itself.
    return array.shape, repr(array.tolist())
