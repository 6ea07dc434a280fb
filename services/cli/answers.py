"""A prediction for people: its outputs by row, and how it was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from predictmesh.gateway.v1.prediction_service_pb2 import PredictRequest, PredictResponse, RowError
from predictmesh.gateway.v1.provenance_pb2 import Degradation, Provenance, RouteReason
from predictmesh.types.v1.tensor_pb2 import Tensor
from services.cli import durations
from services.cli.labels import DEGRADATIONS, words
from services.cli.output import print_pairs, print_table
from services.cli.values import values_of
from services.mesh.status import from_status


def print_answer(request: PredictRequest, response: PredictResponse) -> None:
    """Print the outputs beside the entity keys, then the provenance."""
    columns = [tensor.name for tensor in (*request.entities, *response.outputs)]
    rows = max([*(len(values_of(tensor)) for tensor in request.entities), 1])
    errors = {error.row: error for error in response.row_errors}
    print_table(
        ["row", *columns, *(["error"] if errors else [])],
        [_row(row, rows, request.entities, response.outputs, errors) for row in range(rows)],
    )
    print_pairs(_provenance(response.provenance) | {"prediction": response.prediction_id})


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


def _provenance(made: Provenance) -> dict[str, object]:
    route = words(RouteReason.Name, "ROUTE_REASON_", made.route_reason)
    hops = ", ".join(f"{hop.name} {durations.rounded(hop.duration_us)}" for hop in made.hops)
    return {
        "model": f"{made.model} {made.version} ({route}) on {made.runtime}",
        "as of": made.as_of.ToJsonString() if made.HasField("as_of") else None,
        "ages": ", ".join(
            f"{view.view} {_age(view.oldest_age_ms, view.HasField('oldest_age_ms'))}" for view in made.views
        ),
        "degraded": "; ".join(_degradation(item) for item in made.degradations) or "no",
        "time": f"{hops} ({made.batch_rows} rows in the batch)" if hops else None,
        "revision": made.snapshot_revision,
        "trace": made.trace_id,
    }


def _age(milliseconds: int, stored: bool) -> str:
    return durations.rounded(milliseconds * 1_000) if stored else "-"


def _degradation(item: Degradation) -> str:
    rows = f" (rows {', '.join(map(str, item.rows))})" if item.rows else ""
    return f"{item.subject}: {DEGRADATIONS.get(item.reason, f'reason {item.reason}')}{rows}"
