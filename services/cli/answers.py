"""A prediction for people: its outputs by row, and how it was made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from predictmesh.gateway.v1.prediction_service_pb2 import PredictRequest, PredictResponse, RowError
from predictmesh.gateway.v1.provenance_pb2 import Degradation, HopTime, Provenance, RouteReason, ViewAge
from predictmesh.types.v1.tensor_pb2 import Tensor
from services.cli import durations
from services.cli.labels import DEGRADATIONS, words
from services.cli.output import print_pairs, print_table
from services.cli.paths import print_path, rows_text
from services.cli.values import values_of
from services.mesh.status import from_status


def print_answer(request: PredictRequest, response: PredictResponse) -> None:
    """Print the outputs beside the entity keys, then the provenance, with the ladder and the path that were taken."""
    columns = [tensor.name for tensor in (*request.entities, *response.outputs)]
    rows = max([*(len(values_of(tensor)) for tensor in request.entities), 1])
    errors = {error.row: error for error in response.row_errors}
    print_table(
        ["row", *columns, *(["error"] if errors else [])],
        [_row(row, rows, request.entities, response.outputs, errors) for row in range(rows)],
    )
    made = response.provenance
    print_pairs(_provenance(made) | {"prediction": response.prediction_id})
    print_path(made)


def _row(
    row: int, rows: int, entities: Sequence[Tensor], outputs: Sequence[Tensor], errors: Mapping[int, RowError]
) -> list[object]:
    cells: list[object] = [row, *(row_value(tensor, row, rows) for tensor in entities)]
    if row not in errors:
        return [*cells, *(row_value(tensor, row, rows) for tensor in outputs), *([""] if errors else [])]
    error = from_status(errors[row].status)
    return [*cells, *("" for _ in outputs), f"{error.message} [{error.reason}]"]


def row_value(tensor: Tensor, row: int, rows: int) -> object:
    """Return the value of one row: the value itself, or a list where a row has several."""
    values = values_of(tensor)
    width = len(values) // rows
    return values[row] if width == 1 else values[row * width : (row + 1) * width]


def _effort(hop: HopTime) -> str:
    """Return what a hop took beyond one attempt, if it did."""
    told = [
        *([f"made again {hop.retries}x"] if hop.retries else []),
        *(["asked of a second replica too"] if hop.hedged else []),
        *([f"replicas left out: {hop.breakers_open}"] if hop.breakers_open else []),
    ]
    return f" ({', '.join(told)})" if told else ""


def _provenance(made: Provenance) -> dict[str, object]:
    hops = ", ".join(f"{hop.name} {durations.rounded(hop.duration_us)}{_effort(hop)}" for hop in made.hops)
    ages = [f"{view.view} {durations.rounded(view.oldest_age_ms * 1_000)}" for view in made.views if _is_stored(view)]
    return {
        "model": _model(made),
        "as of": made.as_of.ToJsonString() if made.HasField("as_of") else None,
        "ages": ", ".join(ages),
        "degraded": _degradations(made.degradations) or "no",
        "time": f"{hops} ({made.batch_rows} in the batch)" if hops else None,
        "revision": made.snapshot_revision,
        "trace": made.trace_id,
    }


def _model(made: Provenance) -> str:
    """Return what answered and why it did; a static answer is of no version, and of no runtime."""
    reason = words(RouteReason.Name, "ROUTE_REASON_", made.route_reason)
    release = f" of release {made.release_id}" if made.release_id else ""
    runtime = f"on {made.runtime}" if made.runtime else ""
    return " ".join(filter(None, (made.model, made.version, f"({reason}{release})", runtime)))


def _is_stored(view: ViewAge) -> bool:
    return view.HasField("oldest_age_ms")


def _degradations(found: Iterable[Degradation]) -> str:
    """Return what is degraded, by reason: `nothing stored, defaults taken: plane, weather (rows 0, 3)`."""
    subjects: dict[str, list[str]] = {}
    for item in found:
        rows = f" (rows {rows_text(item.rows)})" if item.rows else ""
        subjects.setdefault(DEGRADATIONS.get(item.reason, f"reason {item.reason}"), []).append(item.subject + rows)
    return "; ".join(f"{reason}: {', '.join(names)}" for reason, names in subjects.items())
