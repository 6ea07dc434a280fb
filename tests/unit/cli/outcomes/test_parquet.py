"""Exported predictions become rows of typed columns, whatever versions they are of."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from predictmesh.gateway.v1.prediction_service_pb2 import ValueOrigin
from predictmesh.registry.v1 import quality_service_pb2 as pb
from predictmesh.types.v1.tensor_pb2 import Tensor
from services.cli.errors import Mistake
from services.cli.outcomes import parquet
from services.cli.outcomes.parquet import ParquetExport
from services.cli.outcomes.spool import Spool
from services.cli.values import DATA_TYPES

STORE = ValueOrigin.VALUE_ORIGIN_STORE
FIXED = ["prediction_id", "row", "as_of", "model", "version", "score", "label", "label_time"]


def tensor(data_type: str, shape: list[int], **values: Any) -> Tensor:
    """A tensor."""
    return Tensor(data_type=DATA_TYPES[data_type], shape=shape, **values)


def exported(
    name: str,
    rows: int = 1,
    labels: dict[int, float] | None = None,
    ages: dict[str, list[int]] | None = None,
    **of: Tensor,
) -> pb.ExportedPrediction:
    """A prediction of so many rows; sources by name, with __ for the colon."""
    found = pb.ExportedPrediction()
    record = found.prediction
    record.prediction_id, record.model, record.version = name, "delay", "1.0.0"
    record.as_of.FromMicroseconds(1_500_000)
    record.scores.extend([0.25] * rows)
    for source, values in of.items():
        record.features.sources.add(name=source.replace("__", ":"), values=values, origins=bytes([STORE] * rows))
    for view, ages_us in (ages or {}).items():
        record.features.views.add(name=view, ages_us=ages_us)
    for row, label in (labels or {}).items():
        found.outcomes.add(prediction_id=name, row=row, label=label).time.FromMicroseconds(7)
    return found


def written(path: Path, *predictions: pb.ExportedPrediction) -> Any:
    """Write predictions, a message each, and read the file."""
    with Spool() as spool:
        export = ParquetExport(spool)
        for prediction in predictions:
            export.take(pb.ExportPredictionsResponse(predictions=[prediction]))
        export.write(path)
    return pa.parquet.read_table(path)


def test_rows_and_columns(tmp_path: Path) -> None:
    """A row for each row, times in UTC, what is unknown is null."""
    one = exported(
        "a", 2, {1: 1.0}, {"ns/plane": [-(2**63), 2_500_000]}, plane__late=tensor("FP32", [2], floats=[1, 2])
    )
    one.prediction.scores[0] = math.nan
    table = written(tmp_path / "x.parquet", one)
    assert [*FIXED, "plane:late", "plane:late#origin", "ns/plane#age_s"] == table.column_names
    assert pa.timestamp("us", "UTC") == table.schema.field("as_of").type == table.schema.field("label_time").type
    assert {
        "score": [None, 0.25],
        "label": [None, 1.0],
        "ns/plane#age_s": [None, 2.5],
    }.items() <= table.to_pydict().items()
    assert ["1970-01-01 00:00:01.500000+00:00"] * 2 == [str(each) for each in table.to_pydict()["as_of"]]
    assert ["store", "store"] == table.to_pydict()["plane:late#origin"]


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (tensor("FP32", [2], floats=[0.5, math.inf]), pa.float32(), [0.5, math.inf]),
        (tensor("FP64", [2], doubles=[0.1, 0.2]), pa.float64(), [0.1, 0.2]),
        (tensor("INT8", [2], ints=[-1, 2]), pa.int8(), [-1, 2]),
        (tensor("UINT64", [2], uints=[1, 2**64 - 1]), pa.uint64(), [1, 2**64 - 1]),
        (tensor("BOOL", [2], bools=[True, False]), pa.bool_(), [True, False]),
        (tensor("BYTES", [2], strings=["ä", ""]), pa.string(), ["ä", ""]),
        (tensor("BYTES", [2], blobs=[b"\xff", b""]), pa.binary(), [b"\xff", b""]),
        (tensor("INT64", [2], ints=[1, 0], null_rows=[1]), pa.int64(), [1, None]),
        (tensor("INT64", [2, 2], ints=[1, 2, 3, 4]), pa.list_(pa.int64()), [[1, 2], [3, 4]]),
        (tensor("FP32", [2, 1], floats=[1, 2]), pa.list_(pa.float32()), [[1], [2]]),
    ],
)
def test_values_keep_their_types(tmp_path: Path, values: Tensor, kind: Any, expected: list[Any]) -> None:
    """Every data type, lists and nulls too."""
    table = written(tmp_path / "x.parquet", exported("a", 2, x__y=values))
    assert (kind, expected) == (table.schema.field("x:y").type, table.to_pydict()["x:y"])


def test_versions_with_other_sources(tmp_path: Path) -> None:
    """A column for each source of any of them; numbers of two types become one that holds both."""
    one = exported("a", 1, a=tensor("FP32", [1], floats=[1]), both=tensor("INT64", [1], ints=[3]))
    two = exported("b", 1, ages={"plane": [5]}, both=tensor("FP64", [1], doubles=[0.5]))
    table = written(tmp_path / "x.parquet", one, two, one)
    assert {
        "a": [1, None, 1],
        "both": [3.0, 0.5, 3.0],
        "plane#age_s": [None, 5e-6, None],
    }.items() <= table.to_pydict().items()
    assert ["store", None, "store"] == table.to_pydict()["a#origin"]


def test_types_that_nothing_holds(tmp_path: Path) -> None:
    """Text in one version and a number in another is told, and no file is made."""
    text, number = tensor("BYTES", [1], strings=["x"]), tensor("INT64", [1], ints=[3])
    with pytest.raises(Mistake, match="differ in the type of a source"):
        written(tmp_path / "x.parquet", exported("a", x=text), exported("b", x=number))
    assert [] == list(tmp_path.iterdir())


def test_rows_are_written_in_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in memory does not grow with the export."""
    monkeypatch.setattr(parquet, "GROUP_ROWS", 4)
    table = written(tmp_path / "x.parquet", *(exported(str(number), 2) for number in range(5)))
    assert [str(number) for number in range(5) for _ in range(2)] == table.to_pydict()["prediction_id"]
    assert 3 == pa.parquet.ParquetFile(tmp_path / "x.parquet").num_row_groups


def test_a_failed_export_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a whole file takes its place."""
    path = tmp_path / "x.parquet"
    path.write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(parquet, "table_of", full)
    with pytest.raises(Mistake, match="No space left"):
        written(path, exported("a"))
    assert (b"old", [path]) == (path.read_bytes(), list(tmp_path.iterdir()))
