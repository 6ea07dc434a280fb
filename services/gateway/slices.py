"""What is a member's own of a batch: its rows of the answers, its errors, and what was degraded for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from services.gateway.assembly import brings_view, packed_rows, row_errors, unpacked, zero
from services.gateway.errors import RuntimeFailed
from services.gateway.prediction import (
    Degradation,
    DegradationReason,
    Explanation,
    FeatureRows,
    FeatureState,
    Inference,
    Outcome,
)
from services.mesh.errors import (
    Code,
    DeadlineExceeded,
    InvalidArgument,
    MeshError,
    Overloaded,
    UpstreamUnavailable,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from services.gateway.request import Member
    from services.gateway.target import DType, Target


def starts(members: Sequence[Member]) -> list[int]:
    """Return the first row of each member in the batch."""
    found, row = [], 0
    for member in members:
        found.append(row)
        row += member.rows
    return found


def outcome_of(
    target: Target, member: Member, start: int, features: FeatureRows | None, inference: Inference, first: int
) -> Outcome | MeshError:
    """Return the member's outcome, or the error of its first row if every row of it failed.

    Its rows begin at `start` in `features` and at `first` in `inference`; hops and batch are the lane's to add.
    """
    views = len(target.views)
    errors: dict[int, MeshError] = {}
    degradations: list[Degradation] = []
    ages: list[int] = []
    if features is not None:
        ages = features.ages_us[start * views : (start + member.rows) * views].tolist()
        if features.statuses or features.unreached:
            degradations = degradations_of(target, member, start, features)
    if member.overrides or (features is not None and (features.statuses or features.missing)):
        errors = row_errors(target, member, start, features)
    if inference.failed_rows:
        _add_failed(errors, inference.failed_rows, first, member.rows)
    if len(errors) == member.rows:
        member.failed = errors
        return errors[min(errors)]
    outputs = [output[first : first + member.rows] for output in inference.outputs]
    if errors:
        outputs = [blanked(output, spec.dtype, errors) for output, spec in zip(outputs, target.outputs, strict=True)]
    runtime = inference.sources[0].runtime
    if inference.row_source is not None or inference.sources[0].reason is not None:
        runtime, fallbacks = _fallbacks(inference, first, member.rows)
        degradations += fallbacks
    return Outcome(outputs, errors, ages, degradations, runtime)


def _add_failed(errors: dict[int, MeshError], failed: Mapping[int, int], first: int, count: int) -> None:
    for row, code in failed.items():
        if first <= row < first + count:
            errors.setdefault(row - first, row_error(code))


def _fallbacks(inference: Inference, first: int, count: int) -> tuple[str, list[Degradation]]:
    """Return the runtime of the first row that was computed, and a degradation for each that stood in for another."""
    own = [0] * count if inference.row_source is None else inference.row_source[first : first + count].tolist()
    # Nobody computed a row that failed, whatever its source says.
    computed = [row for row in range(count) if first + row not in inference.failed_rows]
    found = []
    for index, source in enumerate(inference.sources):
        rows = [row for row in computed if own[row] == index]
        if source.reason is not None and rows:
            found.append(Degradation(source.reason, source.instead_of, [] if len(rows) == count else rows))
    return inference.sources[own[computed[0]]].runtime, found


def blanked(output: npt.NDArray[np.generic], dtype: DType, rows: Iterable[int]) -> npt.NDArray[np.generic]:
    """Return a copy with zeros in `rows`, so that nobody takes what the model made of them for an answer."""
    copy = output.copy()
    copy[list(rows)] = zero(dtype)
    return copy


def explanation_of(
    target: Target, member: Member, start: int, features: FeatureRows | None, tensors: Sequence[bytes]
) -> Explanation:
    """Return what the model got for the member's rows, and where from."""
    arrays = [
        unpacked(packed_rows(packed, feed.dtype, feed.width, start, member.rows), feed.dtype, feed.width)
        for feed, packed in zip(target.inputs, tensors, strict=True)
    ]
    own = None if features is None else sliced(target, features, start, member.rows)
    from_request = {
        (override.input_index, override.source.offset, row)
        for override in member.overrides
        for row in range(member.rows)
        if override.present is None or override.present[row]
    }
    if own is None:
        return Explanation(arrays, [], [], from_request)
    return Explanation(arrays, own.origins, own.statuses, from_request, own.unreached)


def sliced(target: Target, features: FeatureRows, start: int, rows: int) -> FeatureRows:
    """Return what the answer would have been for `rows` rows from `start` on."""
    views, end = len(target.views), start + rows
    tensors, origins = [], []
    for feed in target.inputs:
        if feed.plan_index is None:
            continue
        tensors.append(packed_rows(features.tensors[feed.plan_index], feed.dtype, feed.width, start, rows))
        if features.origins:
            width = len(feed.sources)
            origins.append(features.origins[feed.plan_index][start * width : end * width])
    return FeatureRows(
        tensors,
        features.ages_us[start * views : end * views],
        [(row - start, view, state) for row, view, state in features.statuses if start <= row < end],
        [(row - start, tensor, source) for row, tensor, source in features.missing if start <= row < end],
        origins,
        unreached={
            view: {row - start for row in among if start <= row < end} for view, among in features.unreached.items()
        },
    )


# What the model service says of single rows, by status code.
_ROW_ERRORS: dict[int, Callable[[], MeshError]] = {
    Code.DEADLINE_EXCEEDED: lambda: DeadlineExceeded("the row's time was over before it was computed"),
    Code.RESOURCE_EXHAUSTED: lambda: Overloaded("too much waits for the model: the row would have come too late"),
    Code.UNAVAILABLE: lambda: UpstreamUnavailable("no runtime of the model answered for this row"),
    Code.INVALID_ARGUMENT: lambda: InvalidArgument("the model does not take the values of this row"),
}


def row_error(code: int) -> MeshError:
    """Return what the model service says of a row by its status code."""
    made = _ROW_ERRORS.get(code)
    return made() if made else RuntimeFailed("the model failed on this row")


_DEGRADATIONS = {
    FeatureState.ABSENT: DegradationReason.FEATURE_ABSENT,
    FeatureState.STALE_SERVED: DegradationReason.FEATURE_STALE_SERVED,
    FeatureState.STALE_DEFAULTED: DegradationReason.FEATURE_STALE_DEFAULTED,
    FeatureState.AHEAD: DegradationReason.FEATURE_AHEAD,
}


def degradations_of(target: Target, member: Member, start: int, features: FeatureRows) -> list[Degradation]:
    """Return what was not fresh of the member's features, or not from the store; rows that fail for it say so themselves."""
    found: dict[tuple[int, DegradationReason], list[int]] = {}
    rejected: set[tuple[int, int]] = set()
    for row, view, state in features.statuses:
        own = row - start
        if not 0 <= own < member.rows or brings_view(target, member, view, own):
            continue
        if state is FeatureState.STALE_REJECTED:
            rejected.add((own, view))
        elif state is not FeatureState.ABSENT or row not in features.unreached.get(view, ()):
            found.setdefault((view, _DEGRADATIONS[state]), []).append(own)
    for view, among in features.unreached.items():
        for own in range(member.rows):
            if own + start in among and (own, view) not in rejected and not brings_view(target, member, view, own):
                found.setdefault((view, DegradationReason.STORE_UNREACHABLE), []).append(own)
    return [
        Degradation(reason, target.views[view], [] if len(rows) == member.rows else rows)
        for (view, reason), rows in found.items()
    ]
