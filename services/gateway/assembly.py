"""The model's inputs for a batch: packed bytes are passed through as they are unless a request brings values of its own."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np

from services.gateway.errors import MissingFeature, StaleFeature
from services.gateway.prediction import FeatureRows, FeatureState
from services.gateway.target import DType, Source, SourceKind, Target
from services.mesh.errors import MeshError, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy.typing as npt

    from services.gateway.request import Member, Override


def model_inputs(target: Target, members: Sequence[Member], rows: int, features: FeatureRows | None) -> list[bytes]:
    """Return each input's bytes (row-major, little-endian; BYTES length-prefixed), in the signature's order."""
    touched = {override.input_index for member in members for override in member.overrides}
    tensors: list[bytes] = []
    for index, feed in enumerate(target.inputs):
        packed = None if feed.plan_index is None or features is None else features.tensors[feed.plan_index]
        if packed is None or index in touched:
            array = (
                zeros(feed.dtype, rows * feed.width).reshape(rows, feed.width)
                if packed is None
                else unpacked(packed, feed.dtype, feed.width)
            )
            _overlay(array, index, members)
            packed = pack(array, feed.dtype)
        tensors.append(packed)
    return tensors


def zeros(dtype: DType, count: int) -> npt.NDArray[np.generic]:
    """Return `count` values that stand where there is none: zero, or empty."""
    return np.full(count, zero(dtype), dtype=dtype.numpy)


def zero(dtype: DType) -> int | bytes:
    """Return what stands where there is no value: zero, or empty."""
    return b"" if dtype is DType.BYTES else 0


def _overlay(array: npt.NDArray[np.generic], index: int, members: Sequence[Member]) -> None:
    start = 0
    for member in members:
        for override in member.overrides:
            if override.input_index == index:
                source = override.source
                place = array[start : start + member.rows, source.offset : source.offset + source.width]
                if override.present is None or source.kind is SourceKind.REQUEST:
                    place[:] = override.values
                else:
                    place[override.present] = override.values[override.present]
        start += member.rows


def unpacked(packed: bytes, dtype: DType, width: int) -> npt.NDArray[np.generic]:
    """Return packed values as a writable array [rows, width]; ValueError if they do not make whole rows."""
    if dtype is not DType.BYTES:
        return np.frombuffer(packed, dtype=dtype.numpy).reshape(-1, width).copy()
    values: list[bytes] = []
    offset = 0
    while offset < len(packed):
        start = offset + 4
        offset = start + int.from_bytes(packed[offset:start], "little")
        values.append(packed[start:offset])
    if offset > len(packed):
        raise ValueError("the last element is cut short")
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array.reshape(-1, width)


def pack(array: npt.NDArray[np.generic], dtype: DType) -> bytes:
    """Return the bytes of an array; BYTES elements each behind their length (uint32)."""
    if dtype is not DType.BYTES:
        return array.tobytes()
    return b"".join(struct.pack("<I", len(value)) + value for value in array.ravel())  # type: ignore[arg-type,operator]


def bytes_of(array: npt.NDArray[np.generic]) -> int:
    """Return what an array takes in memory, its texts included."""
    texts = cast("Iterable[bytes]", array.flat) if array.dtype == object else ()
    return array.nbytes + sum(map(len, texts))


def packed_rows(packed: bytes, dtype: DType, width: int, start: int, rows: int) -> bytes:
    """Return what is packed of `rows` rows from `start` on."""
    if dtype is DType.BYTES:
        return pack(unpacked(packed, dtype, width)[start : start + rows], dtype)
    row_bytes = width * np.dtype(dtype.numpy).itemsize
    return packed[start * row_bytes : (start + rows) * row_bytes]


def row_errors(target: Target, member: Member, start: int, features: FeatureRows | None) -> dict[int, MeshError]:
    """Return the errors of a member's rows by its row; what the request brings itself cannot be missing or stale."""
    errors: dict[int, MeshError] = {}
    for row, _, error in input_errors(target, member, start, features):
        errors.setdefault(row, error)
    return errors


InputError = tuple[int, Sequence[int], MeshError]


def input_errors(target: Target, member: Member, start: int, features: FeatureRows | None) -> Iterator[InputError]:
    """Yield (row of the member, places of the inputs, error) for whatever has no value that may be taken."""
    for override in member.overrides:
        yield from _absent_in_request(target, override)
    if features is not None:
        yield from _stale(target, member, start, features)
        yield from _missing(target, member, start, features)


def _stale(target: Target, member: Member, start: int, features: FeatureRows) -> Iterator[InputError]:
    for row, view, state in features.statuses:
        own = row - start
        if state is not FeatureState.STALE_REJECTED or not 0 <= own < member.rows:
            continue
        if not brings_view(target, member, view, own):
            name = target.views[view]
            yield own, target.readers(name), _rejected(name, unreached=row in features.unreached.get(view, ()))


def _rejected(view: str, *, unreached: bool) -> MeshError:
    if unreached:
        return StoreUnavailable(
            f"the feature store does not answer, and no value of {view!r} is known that is new enough"
        )
    return StaleFeature(f"the value of view {view!r} is older than the view allows", view=view)


def _missing(target: Target, member: Member, start: int, features: FeatureRows) -> Iterator[InputError]:
    for row, tensor, element in features.missing:
        own = row - start
        if not 0 <= own < member.rows:
            continue
        index = next(place for place, feed in enumerate(target.inputs) if feed.plan_index == tensor)
        feed = target.inputs[index]
        source = feed.sources[element]
        if _brings(member, index, source, own):
            continue
        if source.view and row in features.unreached.get(target.views.index(source.view), ()):
            message = f"the feature store does not answer, and {source.name} has neither a known value nor a default"
            yield own, (index,), StoreUnavailable(message)
        else:
            message = f"{source.name} has no value and no default, and {feed.dtype.name} has no null"
            yield own, (index,), MissingFeature(message, source=source.name)


def _absent_in_request(target: Target, override: Override) -> Iterator[InputError]:
    feed = target.inputs[override.input_index]
    if override.present is None or override.source.kind is not SourceKind.REQUEST or feed.has_null:
        return
    taken = f"finite {feed.dtype.name}" if feed.finite else feed.dtype.name
    for row in np.flatnonzero(~override.present):
        message = f"feature {override.source.name!r} is null, and {taken} has no null"
        yield int(row), (override.input_index,), MissingFeature(message, source=override.source.name)


def brings_view(target: Target, member: Member, view: int, row: int) -> bool:
    """Whether the request has a value of its own for everything that the model takes of the view."""
    name = target.views[view]
    return all(
        source.kind is SourceKind.FIELD and _brings(member, index, source, row)
        for index, feed in enumerate(target.inputs)
        for source in feed.sources
        if source.view == name
    )


def _brings(member: Member, index: int, source: Source, row: int) -> bool:
    return any(
        override.input_index == index
        and override.source.offset == source.offset
        and (override.present is None or bool(override.present[row]))
        for override in member.overrides
    )
