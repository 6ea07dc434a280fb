"""What is taken of callers, gateways among them: they are trusted, but not to be without faults."""

from __future__ import annotations

import math
from collections.abc import Sequence

from services.mesh.errors import InvalidArgument, MissingField
from services.registry.definitions.endpoints import OutcomeKind
from services.registry.faults import Faults
from services.registry.names import check_name, check_version
from services.registry.quality.records import Outcome, PredictionRecord, Series

MAX_BATCH = 1_000
MAX_ROWS = 256
MAX_ID_BYTES = 64
# The years 1 to 9999, as Timestamp has them.
_FIRST_US, _LAST_US = -62_135_596_800_000_000, 253_402_300_799_999_999
# What SQLite can hold.
_MAX_INTEGER = 2**63 - 1


def check_size(count: int, path: str) -> None:
    """Raise for a batch that is too large."""
    if count > MAX_BATCH:
        raise InvalidArgument(f"{count} are too many for one call; send at most {MAX_BATCH}", field=path)


def check_records(records: Sequence[PredictionRecord]) -> None:
    """Raise for the first prediction that cannot be kept; then none of them may be."""
    check_size(len(records), "predictions")
    known: set[Series] = set()
    for index, record in enumerate(records):
        path = f"predictions[{index}]"
        check_prediction_id(record.prediction_id, f"{path}.prediction_id")
        check_time(record.as_of_us, f"{path}.as_of")
        check_time(record.expire_us, f"{path}.expire_time")
        if not 1 <= len(record.scores) <= MAX_ROWS:
            raise InvalidArgument(f"a prediction has 1 to {MAX_ROWS} rows", field=f"{path}.scores")
        if record.series not in known:
            _check_series(record.series, path)
            known.add(record.series)


def check_outcome(outcome: Outcome) -> None:
    """Raise for an outcome that no prediction can have."""
    check_prediction_id(outcome.prediction_id, "prediction_id")
    if not math.isfinite(outcome.label):
        raise InvalidArgument(f"{outcome.label} is no label; leave out what is not known", field="label")
    if outcome.time_us is not None:
        check_time(outcome.time_us, "time")


def check_prediction_id(prediction_id: str, path: str) -> None:
    """Raise for a name that no prediction has."""
    if not prediction_id:
        raise MissingField("a prediction has a name", field=path)
    if len(prediction_id.encode(errors="replace")) > MAX_ID_BYTES:
        raise InvalidArgument(f"the name of a prediction has at most {MAX_ID_BYTES} bytes", field=path)


def check_time(time_us: int, path: str) -> None:
    """Raise for a time that the calendar does not have."""
    if not _FIRST_US <= time_us <= _LAST_US:
        raise InvalidArgument(f"{time_us // 1_000_000} seconds are no time of the calendar", field=path)


def _check_series(series: Series, path: str) -> None:
    faults = Faults()
    check_name(series.endpoint, f"{path}.endpoint", faults)
    check_name(series.model, f"{path}.model", faults)
    check_version(series.version, f"{path}.version", faults)
    faults.check()
    if series.kind is OutcomeKind.UNSPECIFIED:
        raise MissingField("it must be known what a label is", field=f"{path}.kind")
    if series.release_id > _MAX_INTEGER:
        raise InvalidArgument("no release has a number that large", field=f"{path}.release_id")
