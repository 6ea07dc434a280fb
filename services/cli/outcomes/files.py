"""Outcomes in CSV and JSON Lines files, line by line."""

from __future__ import annotations

import contextlib
import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from google.protobuf.timestamp_pb2 import Timestamp

from predictmesh.gateway.v1.prediction_service_pb2 import RecordOutcomeRequest
from services.cli.errors import Mistake

COLUMNS = ("prediction_id", "row", "label", "time")
REQUIRED = ("prediction_id", "label")
_ROW_LIMIT = 2**32


@dataclass(frozen=True)
class Line:
    """A line of the file, from 1: an outcome, or why it is none."""

    number: int
    request: RecordOutcomeRequest | None
    fault: str = ""


def read_outcomes(path: Path) -> Iterator[Line]:
    """Yield the lines of a file: JSON objects if it ends in .jsonl, else CSV with a header; empty ones are left out.

    Mistake if the file cannot be read, or its header does not fit.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as lines:
            rows = _objects(lines) if path.suffix.lower() == ".jsonl" else _records(path, lines)
            for number, row in rows:
                yield _line(number, row)
    except OSError as error:
        raise Mistake(f"cannot read {path}: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise Mistake(f"cannot read {path}: {error}") from error


def request_of(row: Mapping[str, object]) -> RecordOutcomeRequest:
    """Return the outcome that the columns say. ValueError with the reason if they say none."""
    given = {name: value for name, value in row.items() if value is not None and value != ""}
    missing = [name for name in REQUIRED if name not in given]
    if missing:
        raise ValueError(f"{' and '.join(missing)} is missing")
    return RecordOutcomeRequest(
        prediction_id=_name(given["prediction_id"]),
        row=_row(given.get("row", 0)),
        label=_number(given["label"]),
        time=_time(given["time"]) if "time" in given else None,
    )


def _line(number: int, row: Mapping[str, object] | str) -> Line:
    if isinstance(row, str):
        return Line(number, None, row)
    try:
        return Line(number, request_of(row))
    except ValueError as error:
        return Line(number, None, str(error))


def _records(path: Path, lines: TextIO) -> Iterator[tuple[int, Mapping[str, object] | str]]:
    reader = csv.reader(lines)
    header = next(reader, [])
    faults = {
        "missing": [name for name in REQUIRED if name not in header],
        "unknown": [name for name in header if name not in COLUMNS],
        "twice": sorted({name for name in header if header.count(name) > 1}),
    }
    found = "; ".join(f"{fault}: {', '.join(names)}" for fault, names in faults.items() if names)
    if found:
        raise Mistake(f"columns of {path} are wrong; {found} (it takes prediction_id, label, and perhaps row and time)")
    for values in reader:
        if len(values) == len(header):
            yield reader.line_num, dict(zip(header, values, strict=True))
        elif values:
            yield reader.line_num, f"{len(values)} values stand under {len(header)} columns"


def _objects(lines: TextIO) -> Iterator[tuple[int, Mapping[str, object] | str]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError:
            yield number, "it is no JSON"
            continue
        unknown = sorted(value.keys() - set(COLUMNS)) if isinstance(value, dict) else []
        if not isinstance(value, dict):
            yield number, "it is no JSON object"
        elif unknown:
            yield number, f"{', '.join(unknown)} is none of {', '.join(COLUMNS)}"
        else:
            yield number, value


def _name(value: object) -> str:
    if isinstance(value, str):
        return value
    raise ValueError(f"prediction_id {value!r} is no text")


def _row(value: object) -> int:
    try:
        row = int(value) if isinstance(value, str) else value
    except ValueError:
        row = None
    if isinstance(row, int) and not isinstance(row, bool) and 0 <= row < _ROW_LIMIT:
        return row
    raise ValueError(f"row {value!r} is no number from 0")


def _number(value: object) -> float:
    if isinstance(value, str | int | float):
        with contextlib.suppress(ValueError, OverflowError):
            return float(value)
    raise ValueError(f"label {value!r} is no number")


def _time(value: object) -> Timestamp:
    moment = Timestamp()
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            moment.FromJsonString(value)
            return moment
    raise ValueError(f"time {value!r} is no RFC 3339 time, e.g. 2013-10-01T12:00:00Z")
