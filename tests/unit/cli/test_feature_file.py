"""Files of rows are checked as a whole against the view, by column and by row, and become its batches."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from predictmesh.registry.v1.feature_view_pb2 import FeatureView
from services.cli.errors import Mistake
from services.cli.feature_file import BATCH_ROWS, FeatureFile
from services.cli.feature_stream import encode
from services.cli.values import DATA_TYPES
from tests.support.rows import view

NOON = datetime(2013, 10, 1, 12, tzinfo=UTC)
NOON_US = int(NOON.timestamp()) * 1_000_000


def csv(tmp_path: Path, text: str) -> Path:
    """Write a CSV file."""
    path = tmp_path / "rows.csv"
    path.write_text(text)
    return path


def parquet(tmp_path: Path, **columns: Any) -> Path:
    """Write a Parquet file; keys and event time are filled in."""
    rows = len(next(iter(columns.values())))
    path = tmp_path / "rows.parquet"
    table = {"tail": ["N1"] * rows, "hour": list(range(rows)), "event_time": [NOON] * rows, **columns}
    pa.parquet.write_table(pa.table(table), path)
    return path


def batch(path: Path, of: FeatureView, event_time: str | int = "event_time") -> Any:
    """Return the first batch of a file."""
    return encode(of, next(FeatureFile(path, of, event_time).rows()))


def test_csv(tmp_path: Path) -> None:
    """Columns come in any order, each value by the type of its field; nothing between commas is null but for text."""
    of = view(("late", "FP32", 0), ("gate", "BYTES", 0), ("night", "BOOL", 0), ("count", "INT64", 0))
    text = (
        "gate,hour,tail,late,night,count,event_time\n"
        "A1,7,N1,0.5,true,3,2013-10-01T12:00:00Z\n"
        ",8,007,,,,2013-10-01T12:00:01Z\n"
    )
    found = batch(csv(tmp_path, text), of)
    tail, hour = found.keys
    late, gate, night, count = found.values
    assert ("plane", ["N1", "007"], [7, 8]) == (found.view, list(tail.strings), list(hour.ints))
    assert [NOON_US, NOON_US + 1_000_000] == list(found.event_time_us)
    assert ([0.5, 0.0], [1]) == (list(late.floats), list(late.null_rows))
    assert (["A1", ""], []) == (list(gate.strings), list(gate.null_rows))
    assert ([True, False], [1]) == (list(night.bools), list(night.null_rows))
    assert ([3, 0], [1], DATA_TYPES["INT64"]) == (list(count.ints), list(count.null_rows), count.data_type)


def test_parquet_lists(tmp_path: Path) -> None:
    """A list takes its place in row order; a row without one is null as a whole."""
    of = view(("vector", "FP32", 2))
    (vector,) = batch(parquet(tmp_path, vector=[[1.0, 2.0], None, [3.0, 4.0]]), of).values
    assert ([1, 2, 0, 0, 3, 4], [3, 2], [1]) == (list(vector.floats), list(vector.shape), list(vector.null_rows))


@pytest.mark.parametrize(
    ("values", "microseconds"),
    [
        ([NOON_US], NOON_US),
        ([NOON], NOON_US),
        ([NOON.replace(tzinfo=None)], NOON_US),
        ([date(2013, 10, 1)], NOON_US - 12 * 3_600_000_000),
        (pa.array([NOON_US * 1_000 + 999], pa.timestamp("ns", "UTC")), NOON_US),
        (pa.array([NOON], pa.timestamp("s", "America/New_York")), NOON_US),
    ],
    ids=["integer", "UTC", "no zone", "date", "nanoseconds", "other zone"],
)
def test_event_times(tmp_path: Path, values: Any, microseconds: int) -> None:
    """Times of any unit and zone are the same moment; without a zone they are UTC; a whole number is microseconds."""
    assert [microseconds] == list(batch(parquet(tmp_path, late=[1.0], event_time=values), view()).event_time_us)


def test_one_event_time_for_all(tmp_path: Path) -> None:
    """One moment can stand for every row, and then no column is expected."""
    assert [5] == list(batch(csv(tmp_path, "tail,hour,late\nN1,7,1\nN2,8,2\n"), view(), 5).event_time_us)


@pytest.mark.parametrize("kind", ["FP16", "FP32"])
def test_infinity_is_no_overflow(tmp_path: Path, kind: str) -> None:
    """Infinity is written as such; only a finite number can be too large."""
    (late,) = batch(csv(tmp_path, "tail,hour,late\nN1,7,inf\n"), view(("late", kind, 0)), 5).values
    assert [math.inf] == list(late.floats)


def test_half_precision_is_smaller(tmp_path: Path) -> None:
    """What FP32 holds may be too large for FP16."""
    with pytest.raises(Mistake, match="row 1: late is outside of FP16"):
        batch(csv(tmp_path, "tail,hour,late\nN1,7,70000\n"), view(("late", "FP16", 0)), 5)


def test_batches(tmp_path: Path) -> None:
    """A long file comes in batches, which know where they begin."""
    rows = list(FeatureFile(parquet(tmp_path, late=[0.0] * (2 * BATCH_ROWS + 1)), view(), "event_time").rows())
    assert [(1, BATCH_ROWS), (BATCH_ROWS + 1, BATCH_ROWS), (2 * BATCH_ROWS + 1, 1)] == [(r.first, len(r)) for r in rows]


HEAD = "tail,hour,late,event_time\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tail,hour,event_time\n", r"missing: late \(view plane takes tail, hour, late, event_time\)"),
        ("tail,late\n", "missing: hour, event_time"),
        ("tail,hour,lat,event_time\n", "missing: late; unknown: lat"),
        ("tail,hour,late,late,event_time\n", "twice: late"),
        (HEAD + "N1,x,1,5\n", r"after row 0: .*invalid value 'x'"),
        (HEAD + "N1,7,high,5\n", r"after row 0: .*invalid value 'high'"),
        (HEAD + "N1,7,1,5\n,8,1,5\n", "row 2: tail is empty"),
        (HEAD + "N1,7,1,5\nN1,,1,5\n", "row 2: hour is empty"),
        (HEAD + "N1,7,1,5\nN1,8,1,\n", "row 2: event_time is empty"),
        (HEAD + "N1,7,1,5\nN1,8,1e60,5\n", "row 2: late is outside of FP32"),
        (HEAD + "N1,7,1,noon\n", "event_time is string"),
        (HEAD + "N1,7,1,5,9\n", "after row 0: .*Expected 4 columns, got 5"),
        ("", "missing: tail, hour, late, event_time"),
    ],
)
def test_wrong_csv(tmp_path: Path, text: str, message: str) -> None:
    """What is wrong is named: columns before anything is read, values by their row."""
    with pytest.raises(Mistake, match=message):
        list(FeatureFile(csv(tmp_path, text), view(), "event_time").rows())


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"vector": [[1.0, 2.0], [1.0]]}, "row 2: vector must have 2 elements"),
        ({"vector": [[1.0, None]]}, "rows 1 to 1: an element of vector is null"),
        ({"vector": ["a"]}, "after row 0: "),
        ({"vector": [[1.0, 2.0], [1.0, -1e60]]}, "rows 1 to 2: an element of vector is outside of FP32"),
        ({"vector": [[1.0, 2.0]], "hour": [2.5]}, "after row 0: "),
        ({"vector": [[1.0, 2.0]], "event_time": ["2013"]}, "event_time is string"),
    ],
)
def test_wrong_parquet(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    """Lists of another length, and values that cannot be what the field is, are refused."""
    with pytest.raises(Mistake, match=message):
        list(FeatureFile(parquet(tmp_path, **columns), view(("vector", "FP32", 2)), "event_time").rows())


def test_lists_in_csv(tmp_path: Path) -> None:
    """CSV has no lists; the message says what has."""
    with pytest.raises(Mistake, match=r"CSV cannot hold the lists of vector \(use Parquet\)"):
        FeatureFile(csv(tmp_path, "tail,hour,vector\n"), view(("vector", "FP32", 2)), 5)


def test_what_is_no_file(tmp_path: Path) -> None:
    """A missing file, and bytes that are no Parquet, are mistakes."""
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"nonsense")
    for path in (tmp_path / "none.csv", broken):
        with pytest.raises(Mistake, match=f"cannot read .*{path.name}"):
            FeatureFile(path, view(), "event_time")
